"""Files that the processes of a machine share: fetched or made once, and let go of when there is no room."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, storage

_SLACK = 1024
"""One part in so many of the limit is made before it is looked at again: a folder may hold many small files."""
_ABANDONED = 24 * 3600
"""Seconds after which nobody writes a file any more."""


class Vanished(Exception):
    """A file of the cache was let go of while it was being opened; it is made again."""


class ShardCache:
    """Files that several processes of a machine share: made once, and let go of when there is no room.

    Args:
        folder: where they are; None means the cache of this library.
        most: bytes that they may have together. The least recently used are removed; a single one may be larger.
    """

    def __init__(self, folder: Path | None, most: int):
        self.folder, self.most = folder or storage.cache("shards"), most
        self._made = most  # bytes since it was looked whether there is room: so that it is looked at first

    def file(self, name: str, make: Callable[[BinaryIO], None], length: int = 0) -> Path:
        """The file of that name, which `make` writes where it is not there; the others wait meanwhile.

        Args:
            name: of the file.
            make: writes it.
            length: bytes for which room is made first, as far as it is known.

        Raises:
            FromNoiseError: what `make` raises, or no room on the disk.
        """
        path = self.folder / name
        if not self._is_there(path):
            lock = storage.locked(self.folder / f".{name}")
            with lock:
                if not self._is_there(path):
                    self._make_room(max(length, 0))
                    try:
                        with files.replacing(path) as file:
                            make(file)
                    except OSError as error:
                        raise FromNoiseError(f"{self.folder}: {(error.strerror or str(error)).lower()}: name another "
                                             "place for shards with data.cache, or fewer GB with "
                                             "data.cache_gb") from None  # fmt: skip
                    self._made += path.stat().st_size
                    self._make_room(0, name)
            files.remove(Path(lock.lock_file))  # who comes now finds the file
        return path

    def _make_room(self, length: int, but: str = "") -> None:
        slack = self.most // _SLACK
        if self._made + length > slack:
            self.let_go(self.most - max(length, slack), but)
            self._made = 0

    def _is_there(self, path: Path) -> bool:
        with suppress(OSError):
            os.utime(path)
            return True
        return False

    def let_go(self, most: int, but: str = "") -> None:
        """Of the least recently used, until the others have no more than so many bytes together."""
        found = []
        for entry in os.scandir(self.folder):
            with suppress(OSError):
                about = entry.stat(follow_symlinks=False)
                if entry.name.startswith(files.WRITING):
                    if time.time() - about.st_mtime > _ABANDONED:
                        files.remove(Path(entry.path))
                elif not entry.name.startswith("."):
                    found.append((about.st_mtime_ns, about.st_size, entry.name))
        total = sum(size for _, size, _ in found)
        for _, size, name in sorted(found):
            if total <= most:
                break
            if name != but:
                files.remove(self.folder / name)
                total -= size
