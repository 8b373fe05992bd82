"""A file to which lines are added, and to nothing else: no link, planted or hard, leads them elsewhere."""

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
    """A file that is made anew, with these parts in it; raises as `files.replacing`."""
    with files.replacing(path) as file:
        file.writelines(start)
    return io.FileIO(os.open(path, _FLAGS), "ab")


def continued(path: Path, read: BinaryIO, length: int) -> io.FileIO | None:
    """The file that is being read, where it is, cut after `length` bytes.

    None where lines must not or cannot be added to it: it has a second name, `path` is by now another file or a link,
    or it may not be written.
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
