"""What several commands do with their words: settings and files to write."""

import contextlib
from pathlib import Path
from typing import Any

import yaml

from fromnoise.errors import FromNoiseError


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
