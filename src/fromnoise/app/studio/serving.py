"""The studio's server: uvicorn, local by default; other hosts require a token."""

import contextlib
import socket
import sys
import threading
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fromnoise.app.tracking.studio import FOLDER
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, holding
from fromnoise.system.progress import say

if TYPE_CHECKING:
    from types import FrameType

    from starlette.applications import Starlette

    from fromnoise.app.studio.house import House

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SHORTEST = 8


@dataclass(frozen=True)
class Settings:
    """Settings of the server.

    Attributes:
        root: a folder of runs, or one run.
        host, port: where to listen; port 0 takes a free port.
        token: the token that browsers have to present.
        data: folders of images to offer for training.
        browser: whether to open a browser.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 7860
    token: str | None = None
    data: tuple[Path, ...] = ()
    browser: bool = True

    def check(self) -> None:
        """Raise FromNoiseError if the settings are invalid or unsafe."""
        if self.host not in _LOOPBACK and self.token is None:
            raise FromNoiseError(f"host {self.host} lets other machines in: set a token to protect the studio")
        if self.token is not None and (len(self.token) < _SHORTEST or not self.token.isascii() or
                                       not self.token.isprintable() or set(self.token) & set(' ";,\\')):  # fmt: skip
            raise FromNoiseError(f"token: must have {_SHORTEST} or more ASCII letters, digits or signs, without "
                                 "spaces, quotes, commas, semicolons or backslashes")  # fmt: skip
        if not 0 <= self.port < 65536:
            raise FromNoiseError(f"port must be from 0 to 65535, got {self.port}")
        for path in self.data:
            if not path.is_dir():
                raise FromNoiseError(f"data {path}: no such folder")


def serve(settings: Settings) -> int:
    """Serve until Ctrl-C; trainings that were started continue.

    Raises:
        FromNoiseError: if the extra `studio` is not installed, the port is taken, or the settings are unsafe.
    """
    settings.check()
    try:
        import latex2mathml.converter  # noqa: F401  (the theory pages need it only when opened)
        import starlette.applications  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        name = str(error.name).partition(".")[0]
        raise FromNoiseError(f'the studio needs {name}: pip install "fromnoise[studio]"') from None
    from fromnoise.app.studio.house import House
    from fromnoise.app.studio.web import application

    try:
        state = files.own_folder(settings.root.resolve() / FOLDER)
        with holding.held(state, "used"):
            house = House(settings.root, settings.data)
            return _serve(settings, house, application(house, settings.host, settings.token))
    except PermissionError:
        raise FromNoiseError(f"{settings.root}: is not writable, and the studio keeps uploads and logs there: choose "
                             "a folder of your own") from None  # fmt: skip


def _serve(settings: Settings, house: "House", app: "Starlette") -> int:
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            house.jobs.leave()  # ends the streams of pages that follow jobs
            await super().shutdown(sockets)

        def handle_exit(self, sig: int, frame: "FrameType | None") -> None:
            if not self.should_exit:  # a second Ctrl-C would only print errors
                super().handle_exit(sig, frame)

    listening = _listening(settings)
    port = listening.getsockname()[1]
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, server_header=False, ws="none")
    name = "localhost" if settings.host == "127.0.0.1" else settings.host
    address = f"http://{f'[{name}]' if ':' in name else name}:{port}/"
    print(address, flush=True)
    say(f"the studio shows {settings.root}; Ctrl-C ends it and leaves trainings running")
    if settings.browser and sys.stderr.isatty():
        threading.Timer(0.5, webbrowser.open, [address]).start()
    with contextlib.suppress(KeyboardInterrupt):
        Server(config).run([listening])
    return 0


def _listening(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Name the protocol: asyncio disables Nagle's delay (40 ms) only for sockets that it knows to be TCP.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform != "win32":  # on Windows, it would share a port that is in use
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise FromNoiseError(f"port {settings.port} on {settings.host}: {(error.strerror or str(error)).lower()}; "
                             "use another port, or 0 for any free one") from None  # fmt: skip
    return listening
