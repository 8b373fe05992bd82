"""Images that come from a page: read by the reader that reads data, limited in size and number."""

import itertools
import os
import re
import secrets
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fromnoise.app.studio.shelf import within
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
        sent: how many came, to number them.
        taken, bytes: how much of it is there.
        left_out: what was sent and is no image, with the reason.
    """

    name: str
    folder: Path
    sent: int = 0
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
        reserved: names that a set must not have.
    """

    def __init__(self, root: Path, reserved: Collection[str] = ()):
        self.root, self.reserved = root, set(reserved)
        self.images = root / FOLDER / "images"
        self.sets = root / FOLDER / "data"
        self._paths: dict[str, Path] = {}
        self._sets: dict[str, ImageSet] = {}
        self._lock = threading.Lock()
        if within(root, f"{FOLDER}/images") and self.images.is_dir():
            for left in self.images.iterdir():  # by a studio that ended: nobody knows their keys any more
                files.remove(left)

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
        with self._lock:
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
        self._make(self.sets)
        with self._lock:
            taken = {entry.name for entry in self.sets.iterdir()}
            if len(taken) > 500:
                raise FromNoiseError(f"there are {len(taken)} sets of images in {FOLDER}/data beside the runs: delete "
                                     "those that you do not need")  # fmt: skip
            taken |= self.reserved
            found = free(base, taken)
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
        with self._lock:
            if held.sent >= 2 * MOST_IN_SET or held.taken >= MOST_IN_SET or held.bytes + len(content) > LARGEST_SET:
                raise FromNoiseError(f"a set has at most {MOST_IN_SET:,} images and {LARGEST_SET >> 30} GB: for more, "
                                     "start the studio with their folder as its data")  # fmt: skip
            held.sent += 1
            number = held.sent
        *folders, file = [part for part in re.split(r"[/\\]+", sent_as) if part] or ["image"]
        kind = _plain(folders[-1]) if folders else ""
        folder = held.folder / kind if kind else held.folder
        self._make(folder)
        stem = _plain(Path(file).stem)[:40] or "image"
        path = folder / f"{stem}-{number:05d}"
        try:
            files.write_bytes(path, content)
            _, _, ending = self._checked(path)
            path.replace(path.with_name(path.name + ending))
        except FromNoiseError as error:
            with self._lock:
                held.count_left_out += 1
                if len(held.left_out) < 20:
                    held.left_out.append(f"{sent_as[-60:]}: {error}")
            return held
        with self._lock:
            held.taken += 1
            held.bytes += len(content)
        return held

    def set_folder(self, name: object) -> Path:
        """Of a set that was sent, now or before.

        Raises:
            FromNoiseError: none of that name.
        """
        if not isinstance(name, str) or name not in self.set_names():
            raise FromNoiseError("no such set of images: send it again")
        return self.sets / name

    def set_names(self) -> list[str]:
        """Sets that there are, with something in them."""
        if not within(self.root, f"{FOLDER}/data") or not self.sets.is_dir():
            return []
        found = [entry for entry in os.scandir(self.sets) if entry.is_dir(follow_symlinks=False)]
        return sorted(entry.name for entry in found if any(os.scandir(entry.path)))

    def _make(self, folder: Path) -> None:
        """A folder below .studio, none of whose parts is a link."""
        for part in reversed([folder, *folder.parents]):
            if part.is_relative_to(self.root / FOLDER):
                files.own_folder(part)

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


def free(base: str, taken: Collection[str]) -> str:
    """The name itself, or with the first number that makes it another one."""
    return next(n for n in itertools.chain((base,), (f"{base}-{i}" for i in itertools.count(2))) if n not in taken)


def _plain(name: str) -> str:
    """Letters, digits, - and _ of a name."""
    return re.sub(r"[^\w-]+", "_", name).strip("_-")[:60]
