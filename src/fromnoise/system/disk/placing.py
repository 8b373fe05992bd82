"""A folder that was written under a temporary name takes its place, whole."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fromnoise.system.disk import files

MANIFEST = "manifest.json"
_OLD = ".old-"


def complete(
    writing: Path, target: Path, known: Mapping[str, Mapping[str, Any]], listed: bool = True, kept: Iterable[str] = ()
) -> None:
    """The end of `making`: the manifest, all on the disk, and the folder in its place.

    Args:
        writing: with all files.
        target: the place.
        known: {file: {"bytes", "sha256"}} of those that were hashed already.
        listed, kept: as there.
    """
    written = sorted(writing.rglob("*"))
    if listed:
        found = {f.name: {"bytes": f.stat().st_size, "sha256": _sha256(f)} for f in written if f.name not in known}
        entries = {**found, **known}  # whether or not they are listed here yet: other machines may have written them
        (writing / MANIFEST).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
        written.append(writing / MANIFEST)
    for name in kept:
        with suppress(FileNotFoundError):
            shutil.copy2(target / name, writing / name, follow_symlinks=False)
            written += [writing / name] if (writing / name).is_file() else []
    for path in [*written, writing]:
        files.sync(path)
    _swap(writing, target)


def _swap(writing: Path, target: Path) -> None:
    """The new folder into the place of the old one, which is removed after that; another process may do the same."""
    old = target.with_name(f"{_OLD}{secrets.token_hex(6)}-{target.name}")
    for last in (False,) * 99 + (True,):  # others may be as quick again and again
        with suppress(FileNotFoundError):
            target.rename(old)
        try:
            writing.rename(target)
            break
        except OSError:
            if last or not os.path.lexists(target):
                with suppress(OSError):
                    old.rename(target)
                raise
            files.remove(old)
    files.sync(target.parent)
    files.remove(old)


def clean_up(parent: Path) -> None:
    """Finish or remove what a killed writer left behind in `parent`, which no other process writes into."""
    for old in parent.glob(f"{_OLD}*"):
        place = old.with_name(old.name.removeprefix(_OLD).partition("-")[2] or "nameless")
        if os.path.lexists(place):
            files.remove(old)
        else:
            old.rename(place)
    for writing in parent.glob(f"{files.WRITING}*"):
        files.remove(writing)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
