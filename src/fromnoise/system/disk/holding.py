"""Lock a folder for one process at a time, and record which process holds it."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

_LOCK, _HOLDER = ".lock", ".holder.json"


@contextmanager
def held(folder: Path, doing: str) -> Iterator[None]:
    """Hold a folder for this process alone inside the block; blocks of the same thread may be nested.

    The lock is the operating system's: it is released when its process ends, however it ends, and a shared disk extends
    it to other machines. The holder's name is written down only for the error message.

    Args:
        folder: an existing folder.
        doing: what it is held for, as a participle for the message, such as "trained".

    Raises:
        FromNoiseError: if another process holds it; the message says which, where and since when.
    """
    lock = FileLock(folder.resolve() / _LOCK, blocking=False, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise FromNoiseError(f"{folder} is being {doing}{_who(folder)}: wait for it to end, or name another "
                             "folder") from None  # fmt: skip
    written = False
    try:
        if lock.lock_counter == 1:
            me = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
            files.write_json(folder / _HOLDER, me)
            written = True
        yield
    finally:
        if written:
            with suppress(OSError):
                (folder / _HOLDER).unlink()
        lock.release()


def _who(folder: Path) -> str:
    with suppress(FromNoiseError, KeyError, TypeError):
        holder = files.read_json(folder / _HOLDER, 10_000)
        return f" by process {holder['pid']} on {holder['host']} since {holder['since']}"
    return " by another process"
