"""Checks a page's request for a training and turns it into arguments of `fromnoise train`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fromnoise import data, recipes
from fromnoise.app.studio.frames import finite
from fromnoise.app.studio.shelf import Shelf, within
from fromnoise.errors import FromNoiseError, nearest, unknown
from fromnoise.system.disk import files

_ALLOWED = {"recipe", "name", "data", "folder", "minutes", "steps", "seed", "settings", "model", "teacher",
            "init", "hold_out"}  # fmt: skip


def recipe_names() -> list[dict[str, Any]]:
    """List every recipe with its one-line summary."""
    return [{"name": name, "summary": recipes.registry.summary(name)} for name in recipes.registry.names()]


def data_names() -> list[dict[str, Any]]:
    """List every named data set with its one-line summary."""
    return [{"name": name, "summary": data.registry.summary(name)} for name in data.registry.names()]


def recipe(name: str) -> dict[str, Any]:
    """Describe a recipe: what it needs, how long it takes, and its results."""
    found = recipes.registry.load(_known(name))
    return {
        "name": name,
        "kind": found.kind,
        "what": found.what,
        "data": found.data.name,
        "size": found.data.size,
        "minutes": found.train.minutes,
        "steps": found.train.steps,
        "batch_size": found.train.batch_size,
        "expected": found.expected,
        "reproduced": found.reproduced,
        "teacher": getattr(found, "distill", None) is not None,
        "model": bool(getattr(found, "is_branch", False)) or found.kind == "classifier",
        "stages": list(getattr(found, "stages", None) or ()),
        "text": getattr(found, "text", None) is not None,
    }


def training(values: Mapping[str, Any], out: Path, shelf: Shelf, folder: Callable[[object], Path]) -> list[str]:
    """Return the arguments of `fromnoise train` for a run in the folder `out`.

    Raises:
        FromNoiseError: if a value is missing or invalid.
    """
    for key in values:
        if key not in _ALLOWED:
            raise unknown("setting", str(key)[:40], sorted(_ALLOWED))
    chosen = str(values.get("recipe", ""))
    _known(chosen)
    words = [chosen, "--out", str(out)]
    if values.get("folder"):
        words += ["--data", str(folder(values["folder"]))]
    elif values.get("data"):
        if values["data"] not in data.names():
            raise unknown("data set", str(values["data"])[:40], data.names())
        words += ["--data", values["data"]]
    elif chosen == "images":
        raise FromNoiseError("the recipe images needs images: drop a folder of them, or choose a data set")
    for key in ("minutes", "steps", "seed"):
        if (value := values.get(key)) not in (None, ""):
            words += [f"--{key}", written(_number(key, value))]
    for key in ("model", "teacher", "init"):
        if values.get(key):
            words += [f"--{key}", str(shelf.get(values[key]).path)]
    settings = values.get("settings", [])
    if not isinstance(settings, list) or not all(isinstance(s, str) and "=" in s and s.isprintable() for s in settings):
        raise FromNoiseError("settings: must be key=value, such as train.lr=1e-3")
    if values.get("hold_out"):
        settings = [*settings, f"data.hold_out={_number('hold_out', values['hold_out']):g}"]
    for word in settings:
        key, _, value = word.partition("=")
        if key.strip() in ("data", "data.name", "data.root") or (
            key.strip() == "data.pairs" and value.strip() != "edges"
        ):
            raise FromNoiseError("settings: choose the data above, not by name or path")
        if any(sign in value for sign in ("/", "\\", "..", "~")):
            raise FromNoiseError(f"settings: {key.strip()[:40]} must not contain a path")
    return words + [part for word in settings for part in ("--set", word)]


def longer(values: Mapping[str, Any]) -> dict[str, float]:
    """The requested total length of a run, in minutes or steps."""
    return {key: _number(key, values[key]) for key in ("minutes", "steps") if values.get(key) not in (None, "")}


def measured(run: Path) -> dict[str, Any] | None:
    """Read the eval.json that `fromnoise eval` wrote; None if there is none."""
    if not within(run, "eval.json"):
        return None
    try:
        found = files.read_json(run / "eval.json", 2**22)
        return finite(found) if isinstance(found, dict) else None
    except (FromNoiseError, RecursionError):
        return None


def written(value: float) -> str:
    """Format a number for the command line: integers without a point or an exponent."""
    return str(int(value)) if value == int(value) else repr(value)


def _known(name: str) -> str:
    """Return the name if it is a recipe; raise FromNoiseError otherwise."""
    if name not in recipes.registry.names():
        hint = nearest(name, recipes.registry.names())
        raise FromNoiseError(f"no recipe {name[:40]!r}{hint}: choose one from the list")
    return name


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        raise FromNoiseError(f"{name}: must be a number from 0 to 1e9, got {str(value)[:40]!r}")
    return float(value)
