"""Where a folder may be written: never in the place of what is somebody's own."""

import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files


def insist_on_room(path: str | Path, own: Collection[str], made: Callable[[Path], bool], whose: str) -> Path:
    """The place of a folder that takes that of an older one as a whole; whatever lay in the older one is gone then.

    Args:
        path: of the folder.
        own: what its writer puts into it and may replace, by names such as "unet/config.json".
        made: whether a folder that holds only such names was made by the same writer, and not by somebody else.
        whose: what the writer makes, such as "an export".

    Returns:
        The path without ~ and links.

    Raises:
        FromNoiseError: something of somebody else would be lost; it is the folder that one stands in, or one around
            it; or it cannot be looked into.
    """
    called, alone = files.one_line(path), f"name a new folder, or one that holds {whose} alone"
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
    """The first name that is not the writer's to replace."""
    held = list(_held(place)) if place.exists() else []
    strange = next((name for name in held if name not in own), None)
    return strange if strange is not None or not held or made(place) else held[0]


def _held(place: Path, before: str = "") -> Iterator[str]:
    """The names of all files, links and empty folders, hidden ones last."""
    for entry in sorted(place.iterdir(), key=lambda one: (one.name.startswith("."), one.name)):
        name = f"{before}{entry.name}"
        if entry.is_dir() and not entry.is_symlink() and any(entry.iterdir()):
            yield from _held(entry, f"{name}/")
        else:
            yield name if not entry.is_dir() or entry.is_symlink() else f"{name}/"
