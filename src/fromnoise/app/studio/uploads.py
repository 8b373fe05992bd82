"""Images uploaded from a page: decoded as training data is, and limited in size and number."""

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
"""The most bytes of one image."""
MOST_IN_SET, LARGEST_SET = 20_000, 4 * 2**30
_MOST_KEPT = 200
"""The most single images kept; the oldest are removed first."""


@dataclass
class ImageSet:
    """Images to train on, uploaded one by one into a folder of their own.

    Attributes:
        name: name of the folder.
        folder: its path.
        sent: number of files received, which numbers them.
        taken, bytes: number and total size of the images that were accepted.
        left_out: files that are not images, with the reason; only the first ones.
        count_left_out: number of all files left out.
    """

    name: str
    folder: Path
    sent: int = 0
    taken: int = 0
    bytes: int = 0
    left_out: list[str] = field(default_factory=list)
    count_left_out: int = 0

    def about(self) -> dict[str, Any]:
        """JSON values for the page."""
        return {"name": self.name, "taken": self.taken, "bytes": self.bytes, "left_out": self.left_out,
                "count_left_out": self.count_left_out}  # fmt: skip


class Uploads:
    """All uploaded images and image sets.

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
            for left in self.images.iterdir():  # left by an earlier studio: their keys are lost
                files.remove(left)

    def add(self, content: bytes) -> dict[str, Any]:
        """Keep one image; returns its key and size.

        Raises:
            FromNoiseError: if it cannot be read as an image.
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
        """Return the path of an uploaded image.

        Raises:
            FromNoiseError: if no image is kept under this key.
        """
        if not isinstance(key, str) or key not in self._paths:
            raise FromNoiseError("this image is no longer kept: upload it again")
        return self._paths[key]

    def begin_set(self, name: str) -> ImageSet:
        """Create an empty set; its name is changed if it is no valid folder name or is taken.

        Raises:
            FromNoiseError: if there are too many sets.
        """
        base = _plain(name) or "images"
        self._make(self.sets)
        with self._lock:
            taken = {entry.name for entry in self.sets.iterdir()}
            if len(taken) > 500:
                raise FromNoiseError(f"there are {len(taken)} sets of images in {FOLDER}/data beside the runs: delete "
                                     "the ones you do not need")  # fmt: skip
            taken |= self.reserved
            found = free(base, taken)
            self._make(self.sets / found)
            self._sets[found] = ImageSet(found, self.sets / found)
        return self._sets[found]

    def add_to_set(self, name: str, sent_as: str, content: bytes) -> ImageSet:
        """Add an image to a set; its folder, if any, is its class. Files that are not images are listed.

        Raises:
            FromNoiseError: if there is no such set, or it is full.
        """
        held = self._sets.get(name)
        if held is None:
            raise FromNoiseError("this upload has ended: start it again")
        with self._lock:
            if held.sent >= 2 * MOST_IN_SET or held.taken >= MOST_IN_SET or held.bytes + len(content) > LARGEST_SET:
                raise FromNoiseError(f"a set has at most {MOST_IN_SET:,} images and {LARGEST_SET >> 30} GB: for more, "
                                     "start the studio with the folder as its data")  # fmt: skip
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
        """Return the folder of an uploaded set.

        Raises:
            FromNoiseError: if there is none with this name.
        """
        if not isinstance(name, str) or name not in self.set_names():
            raise FromNoiseError("no such image set: upload it again")
        return self.sets / name

    def set_names(self) -> list[str]:
        """Names of all uploaded sets that are not empty."""
        if not within(self.root, f"{FOLDER}/data") or not self.sets.is_dir():
            return []
        found = [entry for entry in os.scandir(self.sets) if entry.is_dir(follow_symlinks=False)]
        return sorted(entry.name for entry in found if any(os.scandir(entry.path)))

    def _make(self, folder: Path) -> None:
        """Create a folder below .studio, making sure that no part of its path is a link."""
        for part in reversed([folder, *folder.parents]):
            if part.is_relative_to(self.root / FOLDER):
                files.own_folder(part)

    def _checked(self, path: Path) -> tuple[int, int, str]:
        """Decode an image completely; returns (width, height, file extension), or removes the file.

        Raises:
            FromNoiseError: if it cannot be decoded; the message does not contain the path.
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
        except Exception as error:  # decoders raise many kinds of exceptions
            files.remove(path)
            said = files.one_line(error).replace(str(path), "the file")
            raise FromNoiseError(f"cannot be read as an image ({said[:160]})") from None


def free(base: str, taken: Collection[str]) -> str:
    """Return the name, with the first free number appended if it is taken."""
    return next(n for n in itertools.chain((base,), (f"{base}-{i}" for i in itertools.count(2))) if n not in taken)


def _plain(name: str) -> str:
    """Reduce a name to letters, digits, - and _."""
    return re.sub(r"[^\w-]+", "_", name).strip("_-")[:60]
