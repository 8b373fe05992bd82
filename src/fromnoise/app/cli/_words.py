"""What several commands do with their options: settings, counts, and files to write."""

import contextlib
from pathlib import Path
from typing import Any

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files
from fromnoise.system.disk.hub import is_address


def changes(settings: tuple[str, ...]) -> dict[str, Any]:
    """{"key": value} from "key=value" words, with values read as YAML.

    Raises FromNoiseError for a word without "=", or a value that is not YAML.
    """
    found = {}
    for word in settings:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise FromNoiseError(f"--set takes key=value, got {word!r}")
        value = files.parse_yaml(text, f"--set {key}: {text!r}")
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = float(value)  # for YAML 1.1, 1e-3 is a string
        found[key] = value
    return found


def placed(name: str) -> str:
    """What --data names; a folder by its absolute path, so that it is found from any working directory."""
    from fromnoise import data

    named = name.replace("_", "-") in data.names()
    return name if named or not files.expanded(name).is_dir() else str(files.expanded(name).resolve())


_MOST = 10**8


def insist_on_samples(**counts: int | None) -> None:
    """Raise FromNoiseError if a number of samples is not from 2 to 10^8; its keyword names the option."""
    for name, n in counts.items():
        if n is not None and not 2 <= n <= _MOST:
            raise FromNoiseError(f"--{name.replace('_', '-')} must be from 2 to {_MOST:,} samples, got {n}")


def inside(run: Path, name: str) -> Path:
    """The file of that name in a run; for a model on the hub, in the working directory; for a file, beside it."""
    if is_address(run):
        return Path(name)
    return run.with_name(f"{run.stem}-{name}") if run.is_file() else run / name


def writable(path: Path) -> Path:
    """The path, after a check that a file can be written there; an existing file is not touched.

    Raises FromNoiseError if it is a folder, or if its folder cannot be made or written.
    """
    files.insist_on_writable(path, "--out")
    return path
