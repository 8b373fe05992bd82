"""The runs and saved models of the chosen folder. Pages name them; paths sent by a page are never used."""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fromnoise.app.studio.frames import finite
from fromnoise.errors import FromNoiseError, unknown
from fromnoise.system.disk import files

DEPTH = 3
"""How many levels of folders are searched; the stage of a cascade is two levels below the chosen folder."""
_NAMED = 20
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{kind}{i}" for kind in ("COM", "LPT") for i in range(1, 10))}
_PARTS = {"checkpoints", "samples", "pictures", "teacher", "autoencoder", "image-text", "pairs", "studio"}


@dataclass(frozen=True)
class Found:
    """A run or a saved model.

    Attributes:
        name: its name on the page: the path relative to the chosen folder.
        path: its folder.
        is_run: whether it is a run, which has a log, rather than a saved model.
    """

    name: str
    path: Path
    is_run: bool


class Shelf:
    """The contents of the chosen folder; searched again at every call.

    Args:
        root: a folder of runs, or one run.
    """

    def __init__(self, root: Path):
        self.root = root.resolve()

    @property
    def is_one(self) -> bool:
        """Whether the chosen folder is itself a run or a saved model."""
        return _kind(self.root) is not None

    def all(self) -> list[Found]:
        """All runs and saved models, sorted by name."""
        if (kind := _kind(self.root)) is not None:
            below = [Found(f"{self.root.name}/{f.name}", f.path, f.is_run) for f in _below(self.root, "", 1, True)]
            return [Found(self.root.name, self.root, kind), *below]
        return sorted(_below(self.root, "", DEPTH), key=lambda f: f.name)

    def get(self, name: object) -> Found:
        """Return the run or model with this name.

        Raises:
            FromNoiseError: if there is none; the message suggests the nearest name.
        """
        found = {one.name: one for one in self.all()}
        if not isinstance(name, str) or name not in found:
            raise unknown("run", str(name)[:80], list(found)[:_NAMED])
        return found[name]

    def place(self, name: str) -> Path:
        """Return the path of a run with this name, whether or not it exists.

        Raises:
            FromNoiseError: if the name is not valid.
        """
        parts = name.split("/")
        if len(parts) > DEPTH or not all(_can_be_shown(part) for part in parts):
            raise FromNoiseError(f"name: no run can be called {name[:80]!r}")
        return self.root.joinpath(*parts)

    def new(self, name: str) -> Path:
        """Return the path for a new run with this name.

        Raises:
            FromNoiseError: if the name is not valid, or is taken.
        """
        if self.is_one:
            raise FromNoiseError("the studio shows a single run; open it on a folder of runs to train another")
        good = 0 < len(name) <= 60 and name[0].isalnum() and all(c.isalnum() or c in "-_." for c in name)
        if not good or name.endswith(".") or name.split(".")[0].upper() in _DEVICES:
            raise FromNoiseError("name: must have 1 to 60 letters, digits, dots, - and _, begin with a letter or "
                                 "digit, not end with a dot, and not be reserved by Windows, such as con")  # fmt: skip
        path = self.root / name
        if os.path.lexists(path) and not _is_bare(path):
            raise FromNoiseError(f"name: {name} is taken; choose another")
        return path


def _is_bare(path: Path) -> bool:
    """Whether a folder holds nothing but hidden files, as after a training that failed before it began."""
    plain = path.is_dir() and not path.is_symlink()
    return plain and all(entry.name.startswith(".") for entry in path.iterdir())


def _kind(path: Path) -> bool | None:
    """True for a run, False for a saved model, None for neither."""
    if os.path.lexists(path / "config.yaml") or os.path.lexists(path / "checkpoints"):
        return True
    return False if os.path.lexists(path / "denoiser.json") and any(path.glob("*.safetensors")) else None


def _can_be_shown(name: str) -> bool:
    """Whether a folder name is not hidden, valid Unicode and free of path separators."""
    plain = name.encode(errors="replace").decode() == name and not set(name) & set("/\\\0")
    return bool(name) and not name.startswith(".") and plain


def _below(folder: Path, before: str, depth: int, inside: bool = False) -> Iterator[Found]:
    """Yield runs and models below a folder; `inside` a run, its parts (e.g. checkpoints) are skipped."""
    try:
        entries = sorted((e for e in os.scandir(folder) if e.is_dir(follow_symlinks=False)), key=lambda e: e.name)
    except OSError:
        return
    for entry in entries:
        if not _can_be_shown(entry.name) or (inside and entry.name in _PARTS):
            continue
        path, name = Path(entry.path), before + entry.name
        if (kind := _kind(path)) is not None:
            yield Found(name, path, kind)
        if depth > 1:
            yield from _below(path, f"{name}/", depth - 1, kind is not None)


def grids(run: Path) -> list[str]:
    """Names of the sample grids drawn during training, the oldest first."""
    if not within(run, "samples"):
        return []
    try:
        entries = list(os.scandir(run / "samples"))
    except OSError:
        return []
    return sorted(e.name for e in entries if e.name.endswith(".png") and e.is_file(follow_symlinks=False))


def within(run: Path, name: str) -> bool:
    """Whether `name` resolves to a path inside the run, i.e. no link leads out of it."""
    return (run / name).resolve().is_relative_to(run.resolve())


def read_grid(run: Path, name: str) -> bytes:
    """Read one of the files that `grids` lists.

    Raises:
        FromNoiseError: if there is none with this name.
    """
    if name not in grids(run):
        raise FromNoiseError("no such image in this run")
    return files.read_bytes(run / "samples" / name, 32 * 2**20)


def about(found: Found) -> dict[str, Any]:
    """An entry of the list of runs; "broken" says why a configuration cannot be read."""
    known: dict[str, Any] = {"name": found.name, "run": found.is_run}
    if not found.is_run:
        return known | {"what": "a saved model"}
    own = _configured(found.path, _age(found.path / "config.yaml"))
    return known | {k: v for k, v in own.items() if k != "config"} | {"grids": len(grids(found.path))}


def configuration(run: Path) -> dict[str, Any]:
    """The configuration of a run, with dotted keys."""
    return _configured(run, _age(run / "config.yaml")).get("config", {})


def _age(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(1000)
def _configured(path: Path, age: int) -> dict[str, Any]:
    """Summarise the configuration; cached until the file changes."""
    from fromnoise.app.runs.config import flat, read_any

    if not within(path, "config.yaml"):
        return {"broken": "its config.yaml is a link that leads out of the run"}
    try:
        config = read_any(path)
    except FromNoiseError as error:
        return {"broken": str(error)}
    data = getattr(config, "data", None)
    return {
        "config": finite(flat(config.model_dump(mode="json"))),
        "recipe": config.recipe,
        "kind": config.kind,
        "what": config.what,
        "data": Path(data.name).name if data else "",
        "stages": list(getattr(config, "stages", None) or ()),
        "steps": config.train.steps,
        "minutes": config.train.minutes,
    }
