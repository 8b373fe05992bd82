"""What several commands do with their words: settings and files to write."""

import contextlib
from pathlib import Path
from typing import Any

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files
from fromnoise.system.disk.hub import is_address


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
        value = files.parse_yaml(text, f"--set {key}: {text!r}")
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = float(value)  # YAML 1.1 takes 1e-3 for a word
        found[key] = value
    return found


def placed(name: str) -> str:
    """What --data names, a folder by its whole path, so that it is found from wherever one stands."""
    from fromnoise import data

    named = name.replace("_", "-") in data.names()
    return name if named or not files.expanded(name).is_dir() else str(files.expanded(name).resolve())


_MOST = 10**8


def insist_on_samples(**counts: int | None) -> None:
    """That a figure is of as many samples as one can draw: two and more.

    Raises:
        FromNoiseError: it is not; the argument's name becomes the option's.
    """
    for name, n in counts.items():
        if n is not None and not 2 <= n <= _MOST:
            raise FromNoiseError(f"--{name.replace('_', '-')} must be from 2 to {_MOST:,} samples, got {n}")


def inside(run: Path, name: str) -> Path:
    """The file of that name in a run's folder; of a model on the hub where one stands, of a file beside it."""
    if is_address(run):
        return Path(name)
    return run.with_name(f"{run.stem}-{name}") if run.is_file() else run / name


def writable(path: Path) -> Path:
    """The path, once it is sure that a file can be written there; what is there stays as it is.

    Raises:
        FromNoiseError: it is no file, its folder cannot be made, or may not be written.
    """
    files.insist_on_writable(path, "--out")
    return path
