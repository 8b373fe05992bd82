"""A cache of shards that the processes of a machine share: each file is made once, and old ones are removed."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, storage

_SLACK = 1024
"""The folder, which may hold many small files, is scanned again after 1/1024 of the limit has been written."""
_ABANDONED = 24 * 3600
"""Seconds after which an unfinished file counts as abandoned."""


class Vanished(Exception):
    """A file was removed from the cache while it was being opened; it has to be made again."""


class ShardCache:
    """A folder of files that the processes of a machine share: each is made once.

    Args:
        folder: the folder; default: the library's cache.
        most: limit on the total size, in bytes. Beyond it, the least recently used files are removed; a single file may
            be larger.
    """

    def __init__(self, folder: Path | None, most: int):
        self.folder, self.most = folder or storage.cache("shards"), most
        self._made = most  # bytes written since the last scan; the initial value forces a scan

    def file(self, name: str, make: Callable[[BinaryIO], None], length: int = 0) -> Path:
        """The path of a file, which `make` writes if it does not exist; other processes wait meanwhile.

        Args:
            name: name of the file.
            make: writes the content into an open file.
            length: bytes to make room for, if known.

        Raises:
            FromNoiseError: `make` raised it, or the disk is full or not writable.
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
                        raise FromNoiseError(f"{self.folder}: {(error.strerror or str(error)).lower()}: choose another "
                                             "folder for shards with data.cache, or fewer GB with "
                                             "data.cache_gb") from None  # fmt: skip
                    self._made += path.stat().st_size
                    self._make_room(0, name)
            files.remove(Path(lock.lock_file))  # later processes find the file itself
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
        """Remove the least recently used files, except `but`, until the total size is at most `most` bytes."""
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
