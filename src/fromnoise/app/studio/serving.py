"""The studio's server: uvicorn, on this machine alone, or with --host and never without a token for others, too."""

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
    """What the command line says.

    Attributes:
        root: a folder of runs, or one run.
        host, port: where to listen; port 0 takes a free one.
        token: what a browser elsewhere must know.
        data: folders of images that may be trained on.
        browser: whether to open one.
    """

    root: Path
    host: str = "127.0.0.1"
    port: int = 7860
    token: str | None = None
    data: tuple[Path, ...] = ()
    browser: bool = True

    def check(self) -> None:
        """Raises: FromNoiseError: what would not be safe, or cannot be."""
        if self.host not in _LOOPBACK and self.token is None:
            raise FromNoiseError(f"host {self.host} lets other machines in: choose a token that they must know")
        if self.token is not None and (len(self.token) < _SHORTEST or not self.token.isascii() or
                                       not self.token.isprintable() or set(self.token) & set(' ";,\\')):  # fmt: skip
            raise FromNoiseError(f"token: must be {_SHORTEST} or more letters, digits or signs, without spaces, "
                                 "quotes, commas, semicolons and backslashes")  # fmt: skip
        if not 0 <= self.port < 65536:
            raise FromNoiseError(f"port must be from 0 to 65535, got {self.port}")
        for path in self.data:
            if not path.is_dir():
                raise FromNoiseError(f"data {path}: no such folder")


def serve(settings: Settings) -> int:
    """Until Ctrl-C; trainings that were begun go on.

    Raises:
        FromNoiseError: the extra `studio` is missing, the port is taken, or the settings are not safe.
    """
    settings.check()
    try:
        import latex2mathml.converter  # noqa: F401  (of the theory, which is read when it is first asked for)
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
        raise FromNoiseError(f"{settings.root}: cannot be written, and the studio keeps uploads and logs in it: choose "
                             "a folder of your own") from None  # fmt: skip


def _serve(settings: Settings, house: "House", app: "Starlette") -> int:
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            house.jobs.leave()  # the pages that follow them are answered, and need not be cut off
            await super().shutdown(sockets)

        def handle_exit(self, sig: int, frame: "FrameType | None") -> None:
            if not self.should_exit:  # a second Ctrl-C cannot make it quicker, only louder
                super().handle_exit(sig, frame)

    listening = _listening(settings)
    port = listening.getsockname()[1]
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, server_header=False, ws="none")
    name = "localhost" if settings.host == "127.0.0.1" else settings.host
    address = f"http://{f'[{name}]' if ':' in name else name}:{port}/"
    print(address, flush=True)
    say(f"the studio shows {settings.root}; Ctrl-C ends it, and leaves trainings going")
    if settings.browser and sys.stderr.isatty():
        threading.Timer(0.5, webbrowser.open, [address]).start()
    with contextlib.suppress(KeyboardInterrupt):
        Server(config).run([listening])
    return 0


def _listening(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Of this protocol by name: asyncio sends at once only what it knows to be TCP, and waits 40 ms elsewhere.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform != "win32":  # where it would share the port with whoever listens
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise FromNoiseError(f"port {settings.port} on {settings.host}: {(error.strerror or str(error)).lower()}; "
                             "take another, or 0 for any that is free") from None  # fmt: skip
    return listening
