"""Move a folder that was written under a temporary name to its final place, in one step."""

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
    """Complete a folder of `storage.making`: write the manifest, sync everything and move the folder to its place.

    Args:
        writing: the temporary folder with all files.
        target: the final folder.
        known: {file: {"bytes", "sha256"}} of files that are hashed already.
        listed, kept: see `storage.making`.
    """
    written = sorted(writing.rglob("*"))
    if listed:
        found = {f.name: {"bytes": f.stat().st_size, "sha256": _sha256(f)} for f in written if f.name not in known}
        entries = {**found, **known}  # files of other machines may not be listed yet
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
    """Swap the new folder for the old one, and then remove the old one; other processes may do the same meanwhile."""
    old = target.with_name(f"{_OLD}{secrets.token_hex(6)}-{target.name}")
    for last in (False,) * 99 + (True,):  # other processes may win the race repeatedly
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
    """Finish or remove what a killed process left in `parent`; no other process may be writing there."""
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
