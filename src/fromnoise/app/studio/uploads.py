"""Images that come from a page: read by the reader that reads data, limited in size and number."""

import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fromnoise.app.tracking.studio import FOLDER
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

LARGEST = 64 * 2**20
"""Bytes of one image."""
MOST_IN_SET, LARGEST_SET = 20_000, 4 * 2**30
_MOST_KEPT = 200
"""Single images that are kept; the oldest go first."""


@dataclass
class ImageSet:
    """Images to train on, sent one by one into a folder of their own.

    Attributes:
        name: of the folder.
        taken, bytes: how much of it is there.
        left_out: what was sent and is no image, with the reason.
    """

    name: str
    folder: Path
    taken: int = 0
    bytes: int = 0
    left_out: list[str] = field(default_factory=list)
    count_left_out: int = 0

    def about(self) -> dict[str, Any]:
        """For the page."""
        return {"name": self.name, "taken": self.taken, "bytes": self.bytes, "left_out": self.left_out,
                "count_left_out": self.count_left_out}  # fmt: skip


class Uploads:
    """What pages sent.

    Args:
        root: the chosen folder.
    """

    def __init__(self, root: Path):
        self.images = root / FOLDER / "images"
        self.sets = root / FOLDER / "data"
        self._paths: dict[str, Path] = {}
        self._sets: dict[str, ImageSet] = {}

    def add(self, content: bytes) -> dict[str, Any]:
        """Keep one image; returns its key and size.

        Raises:
            FromNoiseError: it is none that can be read.
        """
        self._make(self.images)
        key = secrets.token_hex(12)
        path = self.images / key
        files.write_bytes(path, content)
        width, height, _ = self._checked(path)
        self._paths[key] = path
        while len(self._paths) > _MOST_KEPT:
            oldest = next(iter(self._paths))
            files.remove(self._paths.pop(oldest))
        return {"key": key, "width": width, "height": height}

    def path(self, key: object) -> Path:
        """Of an image that was sent.

        Raises:
            FromNoiseError: none is kept under that key.
        """
        if not isinstance(key, str) or key not in self._paths:
            raise FromNoiseError("this image is not kept any more: give it again")
        return self._paths[key]

    def begin_set(self, name: str) -> ImageSet:
        """An empty set; the name is made one that a folder can have.

        Raises:
            FromNoiseError: there are too many.
        """
        base = _plain(name) or "images"
        taken = {entry.name for entry in self.sets.iterdir()} if self.sets.is_dir() else set()
        if len(taken) > 500:
            raise FromNoiseError(f"there are {len(taken)} sets of images in {self.sets}: delete those you do not need")
        found = next(n for n in (base, *(f"{base}-{i}" for i in range(2, 1000))) if n not in taken)
        self._make(self.sets / found)
        self._sets[found] = ImageSet(found, self.sets / found)
        return self._sets[found]

    def add_to_set(self, name: str, sent_as: str, content: bytes) -> ImageSet:
        """One more image: its folder, if any, is its class. What is no image is counted and named.

        Raises:
            FromNoiseError: no such set, or it is full.
        """
        held = self._sets.get(name)
        if held is None:
            raise FromNoiseError("this set is not being sent: begin anew")
        if held.taken >= MOST_IN_SET or held.bytes + len(content) > LARGEST_SET:
            most = f"{MOST_IN_SET:,} images and {LARGEST_SET >> 30} GB"
            raise FromNoiseError(f"a set has at most {most}: start the studio with --data FOLDER for more")  # fmt: skip
        *folders, file = [part for part in re.split(r"[/\\]+", sent_as) if part] or ["image"]
        kind = _plain(folders[-1]) if folders else ""
        folder = held.folder / kind if kind else held.folder
        self._make(folder)
        stem = _plain(Path(file).stem)[:40] or "image"
        path = folder / f"{stem}-{held.taken + held.count_left_out:05d}"
        try:
            files.write_bytes(path, content)
            _, _, ending = self._checked(path)
        except FromNoiseError as error:
            held.count_left_out += 1
            if len(held.left_out) < 20:
                held.left_out.append(f"{sent_as[-60:]}: {error}")
            return held
        path.replace(path.with_name(path.name + ending))
        held.taken += 1
        held.bytes += len(content)
        return held

    def set_folder(self, name: object) -> Path:
        """Of a set that was sent, now or before.

        Raises:
            FromNoiseError: none of that name.
        """
        known = {entry.name: entry for entry in self.sets.iterdir() if entry.is_dir()} if self.sets.is_dir() else {}
        if not isinstance(name, str) or name not in known:
            raise FromNoiseError("no such set of images: send it again")
        return known[name]

    def set_names(self) -> list[str]:
        """Sets that there are."""
        return sorted(entry.name for entry in self.sets.iterdir() if entry.is_dir()) if self.sets.is_dir() else []

    def _make(self, folder: Path) -> None:
        files.own_folder(folder)

    def _checked(self, path: Path) -> tuple[int, int, str]:
        """(width, height, ending), by decoding it whole; what cannot be is removed.

        Raises:
            FromNoiseError: in words, without the name that it has here.
        """
        from fromnoise.data import decode

        try:
            with decode.opened(path, (64, 64)) as image:
                width, height = image.size
                image.load()
                ending = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}.get(
                    str(image.format), f".{str(image.format or 'png').lower()}"
                )
            return width, height, ending
        except Exception as error:  # decoders raise a dozen kinds
            files.remove(path)
            said = files.one_line(error).replace(str(path), "the file")
            raise FromNoiseError(f"cannot be read as an image ({said[:160]})") from None


def _plain(name: str) -> str:
    """Letters, digits, - and _ of a name."""
    return re.sub(r"[^\w-]+", "_", name).strip("_-")[:60]
