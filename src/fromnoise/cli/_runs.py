"""What several commands need to know of a run's folder."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fromnoise.errors import FromNoiseError

if TYPE_CHECKING:
    from fromnoise.recipes._recipe import Recipe


def read_config(run: Path) -> "Recipe":
    """The configuration of a run.

    Raises:
        FromNoiseError: no run is there, or its config.yaml is not one.
    """
    from fromnoise.recipes._recipe import checked

    path = run / "config.yaml"
    if not run.exists():
        others = sorted(str(p.parent) for p in run.parent.glob("*/config.yaml")) if run.parent.is_dir() else []
        there = (
            f"; there is {', '.join(others[:5])}" if others else f"; train one with: fromnoise train digits --out {run}"
        )
        raise FromNoiseError(f"{run}: no such run{there}")
    if not path.exists():
        raise FromNoiseError(f"{run}: not a run, it holds no config.yaml")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FromNoiseError(f"{path}: not readable as YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise FromNoiseError(f"{path}: not a configuration")
    return checked(values)


def changes(settings: tuple[str, ...]) -> dict[str, Any]:
    """{"key": value} from "key=value" words; values are read as YAML.

    Raises:
        FromNoiseError: a word without "=", or a value that is not YAML.
    """
    found = {}
    for word in settings:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise FromNoiseError(f"--set takes key=value, got {word!r}")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise FromNoiseError(f"--set {key}: {text!r} is not a value") from None
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = float(value)  # YAML 1.1 takes 1e-3 for a word
        found[key] = value
    return found


def writable(path: Path) -> Path:
    """The path, once it is sure that a file can be written there.

    Raises:
        FromNoiseError: it is a folder, its folder cannot be made, or may not be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise FromNoiseError(f"--out {path}: is a folder; name a file")
        path.open("ab").close()
        if path.stat().st_size == 0:
            path.unlink()
    except OSError as error:
        raise FromNoiseError(f"--out {path}: cannot be written ({error.strerror or error})") from None
    return path
