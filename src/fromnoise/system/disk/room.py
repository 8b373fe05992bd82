"""Decide where a folder may be written: never over files that something else made."""

import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files


def insist_on_room(path: str | Path, own: Collection[str], made: Callable[[Path], bool], whose: str) -> Path:
    """Check that a folder may be replaced as a whole, which removes everything in the old one.

    Args:
        path: the folder.
        own: names of the files that the writer makes and may replace, such as "unet/config.json".
        made: whether a folder that holds only such names was made by the same writer.
        whose: what the writer makes, such as "an export".

    Returns:
        The path with ~ and links resolved.

    Raises:
        FromNoiseError: if other files would be lost, the folder is the working directory or one of its parents, or it
            cannot be read.
    """
    called, alone = files.one_line(path), f"name a new folder, or one that holds only {whose}"
    target = files.expanded(path)
    try:
        place = target.resolve()
        kind = place.stat().st_mode if os.path.lexists(place) else stat.S_IFDIR
        around = Path.cwd().is_relative_to(place)
        lost = _lost(place, own, made) if stat.S_ISDIR(kind) and not around else None
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
        why = (getattr(error, "strerror", None) or files.one_line(error)).lower()
        raise FromNoiseError(f"{called}: cannot be written ({why})") from None
    if not stat.S_ISDIR(kind):
        raise FromNoiseError(f"{called} is {'a file' if stat.S_ISREG(kind) else files.kind_of(kind)}: {alone}")
    if around:
        raise FromNoiseError(f"{called}: is the folder that you are in, or is around it, and would be replaced: name a "
                             "folder inside it, or go elsewhere first")  # fmt: skip
    if lost is not None:
        raise FromNoiseError(f"{called} holds {files.one_line(lost)}, which would be lost: {alone}")
    return place


def _lost(place: Path, own: Collection[str], made: Callable[[Path], bool]) -> str | None:
    """The first name that the writer may not replace; None if there is none."""
    held = list(_held(place)) if place.exists() else []
    strange = next((name for name in held if name not in own), None)
    return strange if strange is not None or not held or made(place) else held[0]


def _held(place: Path, before: str = "") -> Iterator[str]:
    """Yield the names of all files, links and empty folders, hidden ones last."""
    for entry in sorted(place.iterdir(), key=lambda one: (one.name.startswith("."), one.name)):
        name = f"{before}{entry.name}"
        if entry.is_dir() and not entry.is_symlink() and any(entry.iterdir()):
            yield from _held(entry, f"{name}/")
        else:
            yield name if not entry.is_dir() or entry.is_symlink() else f"{name}/"
