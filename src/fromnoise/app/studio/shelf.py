"""The runs and saved models of the chosen folder: found, never named by a path that the page made up."""

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
"""Folders below the chosen one that are looked into: a stage of a cascade lies two below."""
_NAMED = 20
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{kind}{i}" for kind in ("COM", "LPT") for i in range(1, 10))}
_PARTS = {"checkpoints", "samples", "pictures", "teacher", "autoencoder", "image-text", "pairs", "studio"}


@dataclass(frozen=True)
class Found:
    """A run or a saved model.

    Attributes:
        name: how the page calls it: its path below the chosen folder.
        path: where it is.
        is_run: whether it was trained here, and so has a log.
    """

    name: str
    path: Path
    is_run: bool


class Shelf:
    """What lies in the chosen folder; looked for anew whenever it is asked.

    Args:
        root: a folder of runs, or one run.
    """

    def __init__(self, root: Path):
        self.root = root.resolve()

    @property
    def is_one(self) -> bool:
        """Whether the chosen folder is a run itself."""
        return _kind(self.root) is not None

    def all(self) -> list[Found]:
        """Every run and model, by name."""
        if (kind := _kind(self.root)) is not None:
            below = [Found(f"{self.root.name}/{f.name}", f.path, f.is_run) for f in _below(self.root, "", 1, True)]
            return [Found(self.root.name, self.root, kind), *below]
        return sorted(_below(self.root, "", DEPTH), key=lambda f: f.name)

    def get(self, name: object) -> Found:
        """The one of that name.

        Raises:
            FromNoiseError: none, with the nearest.
        """
        found = {one.name: one for one in self.all()}
        if not isinstance(name, str) or name not in found:
            raise unknown("run", str(name)[:80], list(found)[:_NAMED])
        return found[name]

    def place(self, name: str) -> Path:
        """Where a run of that name is, or was, or would be.

        Raises:
            FromNoiseError: no run can have that name.
        """
        parts = name.split("/")
        if len(parts) > DEPTH or not all(_can_be_shown(part) for part in parts):
            raise FromNoiseError(f"name: no run can be called {name[:80]!r}")
        return self.root.joinpath(*parts)

    def new(self, name: str) -> Path:
        """Where a new run of that name is to be.

        Raises:
            FromNoiseError: the name is not one, or is taken.
        """
        if self.is_one:
            raise FromNoiseError("the studio shows one run; start it on a folder of runs to train another")
        good = 0 < len(name) <= 60 and name[0].isalnum() and all(c.isalnum() or c in "-_." for c in name)
        if not good or name.endswith(".") or name.split(".")[0].upper() in _DEVICES:
            raise FromNoiseError("name: must have 1 to 60 letters, digits, dots, - and _, begin with a letter or "
                                 "digit, not end with a dot, and not be a name that Windows reserves, such as "
                                 "con")  # fmt: skip
        path = self.root / name
        if os.path.lexists(path) and not _is_bare(path):
            raise FromNoiseError(f"name: {name} is taken; choose another")
        return path


def _is_bare(path: Path) -> bool:
    """Whether a folder is one that a training made and failed in before it began: with its lock at most."""
    plain = path.is_dir() and not path.is_symlink()
    return plain and all(entry.name.startswith(".") for entry in path.iterdir())


def _kind(path: Path) -> bool | None:
    """True for a run, False for a saved model, None for neither."""
    if os.path.lexists(path / "config.yaml") or os.path.lexists(path / "checkpoints"):
        return True
    return False if os.path.lexists(path / "denoiser.json") and any(path.glob("*.safetensors")) else None


def _can_be_shown(name: str) -> bool:
    """Not hidden, in Unicode, and no way to elsewhere."""
    plain = name.encode(errors="replace").decode() == name and not set(name) & set("/\\\0")
    return bool(name) and not name.startswith(".") and plain


def _below(folder: Path, before: str, depth: int, inside: bool = False) -> Iterator[Found]:
    """Runs and models below a folder; `inside` a run its parts are none."""
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
    """Names of the pictures that training drew, the oldest first."""
    if not within(run, "samples"):
        return []
    try:
        entries = list(os.scandir(run / "samples"))
    except OSError:
        return []
    return sorted(e.name for e in entries if e.name.endswith(".png") and e.is_file(follow_symlinks=False))


def within(run: Path, name: str) -> bool:
    """Whether no link leads from there out of the run."""
    return (run / name).resolve().is_relative_to(run.resolve())


def read_grid(run: Path, name: str) -> bytes:
    """One of `grids`.

    Raises:
        FromNoiseError: it is none of them.
    """
    if name not in grids(run):
        raise FromNoiseError("no such picture in this run")
    return files.read_bytes(run / "samples" / name, 32 * 2**20)


def about(found: Found) -> dict[str, Any]:
    """What the list of runs shows of one; a run whose configuration is damaged says so."""
    known: dict[str, Any] = {"name": found.name, "run": found.is_run}
    if not found.is_run:
        return known | {"what": "a saved model"}
    own = _configured(found.path, _age(found.path / "config.yaml"))
    return known | {k: v for k, v in own.items() if k != "config"} | {"grids": len(grids(found.path))}


def configuration(run: Path) -> dict[str, Any]:
    """All of a run's configuration, by dotted keys."""
    return _configured(run, _age(run / "config.yaml")).get("config", {})


def _age(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(1000)
def _configured(path: Path, age: int) -> dict[str, Any]:
    """What the configuration says; read again only when it was written again."""
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
