"""The state of a studio: its runs, jobs, trainings and uploads."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fromnoise
from fromnoise.app.studio import asking, shelf, works
from fromnoise.app.studio.again import shown
from fromnoise.app.studio.curves import Curves
from fromnoise.app.studio.jobs import Jobs
from fromnoise.app.studio.processes import holder
from fromnoise.app.studio.shelf import Shelf
from fromnoise.app.studio.trainings import Trainings
from fromnoise.app.studio.uploads import Uploads, free
from fromnoise.app.tracking.studio import FOLDER, TURN
from fromnoise.system.disk import files

_FRESH, _STALE = 0.5, 3.0


class House:
    """A studio without its web server.

    Args:
        root: a folder of runs, or one run.
        data: folders of images to offer for training, besides the named data sets and uploads.
    """

    def __init__(self, root: Path, data: tuple[Path, ...] = ()):
        self.shelf = Shelf(root)
        state = files.own_folder(self.shelf.root / FOLDER)
        self.data = _named([path.resolve() for path in data])
        self.uploads = Uploads(self.shelf.root, self.data)
        self.trainings = Trainings(self.shelf, self._folder)
        self.jobs = Jobs(state / TURN)
        self._curves: dict[Path, Curves] = {}
        self._lock = threading.Lock()
        self._state: dict[str, Any] = {}
        self._next_look = 0.0

    def about(self) -> dict[str, Any]:
        """What a page loads once."""
        return {
            "version": fromnoise.__version__,
            "root": self.shelf.root.name,
            "base": shown(self.shelf.root.parent if self.shelf.is_one else self.shelf.root),
            "one": self.shelf.is_one,
            "recipes": asking.recipe_names(),
            "data": asking.data_names(),
            "folders": list(self.data),
        } | self.state()

    def state(self) -> dict[str, Any]:
        """What pages poll every second; recomputed at most twice a second, and less often in a huge folder."""
        with self._lock:
            began = time.monotonic()
            if began < self._next_look:
                return self._state | {"queue": self.jobs.queue()}
            known = self.shelf.all()
            names = {one.name for one in known}
            runs = [self._about(one) for one in known]
            runs += [{"name": n, "run": True, "recipe": "", "what": "", "state": self.trainings.state(n), "said":
                      self.trainings.words(n, 3)} for n in self.trainings.names() if n not in names]  # fmt: skip
            self._state = {"runs": runs, "hardware": self.jobs.hardware}
            paths = {one.path for one in known}
            self._curves = {path: curve for path, curve in list(self._curves.items()) if path in paths}
            now = time.monotonic()
            self._next_look = now + min(max(_FRESH, 2 * (now - began)), _STALE)
            return self._state | {"queue": self.jobs.queue()}

    def run(self, name: str) -> dict[str, Any]:
        """Everything about a run, including its configuration and the names of its sample grids."""
        if self._waits(name):
            return {"name": name, "run": True, "state": self.trainings.state(name), "words": self.trainings.words(name)}
        found = self.shelf.get(name)
        about = self._about(found)
        if found.is_run and "broken" not in about:
            about["config"] = shelf.configuration(found.path)
            about["files"] = shelf.grids(found.path)
        about["words"] = self.trainings.words(name)
        about["measured"] = asking.measured(found.path)
        return about

    def log(self, name: str, after: int) -> dict[str, Any]:
        """The curves of a run after the step `after`."""
        if self._waits(name):
            return {"from": 0, "last": 0, "lines": 0, "columns": {}}
        return self._curve(self.shelf.get(name).path).after(after)

    def grid(self, name: str, file: str) -> bytes:
        """Read a sample grid drawn during training."""
        return shelf.read_grid(self.shelf.get(name).path, file)

    def places(self, kind: str, values: Mapping[str, Any]) -> dict[str, str]:
        """Look up the paths of the models, uploads and image sets that a work names.

        Raises:
            FromNoiseError: if one of them does not exist.
        """
        places: dict[str, str] = {}
        if kind in works.names():
            cls = works.get(kind)
            for name in cls.models:
                if values.get(name):
                    places[name] = str(self.shelf.get(values[name]).path)
            for name in cls.uploads:
                if values.get(name):
                    places[name] = str(self.uploads.path(values[name]))
            for name in cls.sets:
                if values.get(name):
                    places[name] = str(self._folder(values[name]))
        return places

    def train(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Start a training."""
        name = self.trainings.start(values)
        return {"name": name, "state": self.trainings.state(name)}

    def resume(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Resume a training."""
        name = str(values.get("run", ""))
        self.trainings.resume(name, asking.longer(values))
        return {"name": name, "state": self.trainings.state(name)}

    def tick(self) -> None:
        """Called once a second: start the next waiting training."""
        self.trainings.tick()

    def _folder(self, name: object) -> Path:
        """Path of an image folder: one that the studio was started with, or an uploaded one."""
        if isinstance(name, str) and name in self.data:
            return self.data[name]
        return self.uploads.set_folder(name)

    def _about(self, found: shelf.Found) -> dict[str, Any]:
        about = shelf.about(found)
        if not found.is_run:
            return about
        about["state"] = self.trainings.state(found.name) or ("elsewhere" if holder(found.path) else "")
        about["progress"] = self._curve(found.path).newest()
        if about["state"] in ("failed", "going", "pausing"):
            about["said"] = self.trainings.words(found.name, 3)
        return about

    def _waits(self, name: str) -> bool:
        """Whether the run was requested but its folder does not exist yet."""
        return name in self.trainings.names() and name not in {one.name for one in self.shelf.all()}

    def _curve(self, path: Path) -> Curves:
        return self._curves.setdefault(path, Curves(path))


def _named(folders: list[Path]) -> dict[str, Path]:
    """Map names to folders; a repeated name gets a number."""
    found: dict[str, Path] = {}
    for path in dict.fromkeys(folders):
        found[free(path.name or "data", found)] = path
    return found
