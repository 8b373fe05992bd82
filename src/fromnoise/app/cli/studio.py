"""`fromnoise studio`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fromnoise.app.cli._options import On, option
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Draw, train, edit and measure in a browser.

    examples:
      fromnoise studio
          Open the studio with the runs in the folder runs.
      fromnoise studio runs/digits
          Open it with a single run.
      fromnoise studio --data ~/photos --port 8000
          Offer a folder of images to train on, and choose the port.

    details:
      The command prints the address of the studio. Trainings started there go
      on when the page or the studio is closed; the next studio finds them again.
      The studio is reachable from this computer only, unless --host lets other
      machines in, which then need the --token.
      It needs the extra `studio`: pip install "fromnoise[studio]".
    """

    folder: Annotated[Path, tyro.conf.Positional, option("[RUN|FOLDER]")] = Path("runs")
    """Folder of runs, or a single run or saved model."""
    port: Annotated[int, option("PORT")] = 7860
    """Port to listen on; 0 takes a free one."""
    host: Annotated[str, option("ADDRESS")] = "127.0.0.1"
    """Address to listen on: 127.0.0.1 is this computer only, 0.0.0.0 lets in everyone who knows the token."""
    token: Annotated[str | None, option("TEXT", default="none")] = None
    """Password of 8 characters or more, which a browser asks for on the first visit."""
    data: Annotated[tuple[Path, ...], option("FOLDER ...", default="none")] = ()
    """Folders of images to train on, beside the named data sets and images dropped on the page."""
    browser: On = True
    """Open a browser, if the command runs in a terminal."""

    def __call__(self) -> int:
        root = files.expanded(self.folder)
        if not root.is_dir():
            if self.folder != Path("runs") or root.exists():
                raise FromNoiseError(f"{self.folder}: no such folder")
            root.mkdir()
        from fromnoise.app.studio import Settings, serve

        data = tuple(files.expanded(path) for path in self.data)
        return serve(Settings(root, self.host, self.port, self.token, data, self.browser))
