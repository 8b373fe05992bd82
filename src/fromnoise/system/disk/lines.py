"""Append lines to a file, and to that file only: no symbolic or hard link can lead them elsewhere."""

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from fromnoise.system.disk import files

_FLAGS = os.O_WRONLY | os.O_APPEND
for _name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)


def appending(path: Path, start: Iterable[bytes] = ()) -> io.FileIO:
    """Make a new file from the chunks of `start` and open it for appending. Raises the errors of `files.replacing`."""
    with files.replacing(path) as file:
        file.writelines(start)
    return io.FileIO(os.open(path, _FLAGS), "ab")


def continued(path: Path, read: BinaryIO, length: int) -> io.FileIO | None:
    """Reopen the file that is being read for appending in place, cut after `length` bytes.

    Returns None if lines must not or cannot be added to it: it has a second name (a hard link), `path` has become
    another file or a link, or the file may not be written.
    """
    try:
        file = io.FileIO(os.open(path, _FLAGS), "ab")
    except OSError:
        return None
    own, there = os.fstat(file.fileno()), os.fstat(read.fileno())
    if not (os.path.samestat(own, there) and own.st_nlink == 1 and own.st_size >= length):
        file.close()
        return None
    file.truncate(length)
    return file
