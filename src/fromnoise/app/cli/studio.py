"""`fromnoise studio`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fromnoise.app.cli._options import option
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Draw, train, look inside, edit and measure in a browser, on your own machine.

      fromnoise studio                       the runs in runs/
      fromnoise studio runs/digits           one run
      fromnoise studio --data ~/photos       with a folder of images that can be trained on

    It prints its address. Trainings that are begun in it go on when the page is closed, and when the studio ends; a
    later one finds them. It listens on this machine alone; --host lets others in, who must know the --token. Needs the
    extra `studio`: pip install "fromnoise[studio]".
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="[RUN|FOLDER]")] = Path("runs")
    """A folder of runs, or one run or saved model; runs by default."""
    port: Annotated[int, option("P")] = 7860
    """Where it listens; 0 takes a free one."""
    host: Annotated[str, option("ADDRESS")] = "127.0.0.1"
    """Who may come: this machine alone by default; 0.0.0.0 for everybody who knows the token."""
    token: Annotated[str | None, option("TEXT")] = None
    """What a browser must know, 8 characters or more; asked for on its first visit."""
    data: Annotated[tuple[Path, ...], option("FOLDER")] = ()
    """Folders of images that may be trained on, beside the named data sets and what is dropped on the page."""
    browser: bool = True
    """Open a browser, where the command runs in a terminal."""

    def __call__(self) -> int:
        root = files.expanded(self.folder)
        if not root.is_dir():
            if self.folder != Path("runs") or root.exists():
                raise FromNoiseError(f"{self.folder}: no such folder")
            root.mkdir()
        from fromnoise.app.studio import Settings, serve

        data = tuple(files.expanded(path) for path in self.data)
        return serve(Settings(root, self.host, self.port, self.token, data, self.browser))
