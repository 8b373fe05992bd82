"""A folder that one process at a time works in, and who that is."""

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
    """The folder is this process' alone inside the block; inside another such block of the same thread, still.

    The lock is the system's, which lets go of it when its process ends, however it ends, and which a shared disk
    carries to other machines. Who holds it is only written down for people.

    Args:
        folder: which exists.
        doing: what it is held for, in words: "trained".

    Raises:
        FromNoiseError: another process holds it; who, where and since when.
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
