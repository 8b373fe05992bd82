"""Work shared between processes through a folder: one process at a time holds a task, and a dead one's is taken over.

The processes may run anywhere, start at any time and end in any way; all that they share is the folder, on a local disk
or a network disk. A claim is the file NAME.claim: only one process can create a file of that name. Its holder updates
the file's modification time every `BEAT` seconds. A claim whose time has not changed for `PATIENCE` seconds belongs to
a dead process. Each process measures this by its own clock alone, so clocks that differ do no harm. On the same Linux
machine /proc says at once that a process is gone.

If a process hangs for longer than `PATIENCE` and then continues, two processes do the same task. So it must be safe to
do a task twice: its result is the same both times and is written in one step, as `storage.write_folder` does.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

BEAT, PATIENCE = 10.0, 90.0
"""Seconds between two signs of life, and seconds without one until a claim is taken over. The latter is more than the
minute for which a network file system may show an old time."""

_LOOK_AGAIN = 0.5
_MADE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_LIMIT = 4096


def shared(folder: Path, names: Iterable[str], done: Callable[[str], bool], wait: bool = True) -> Iterator[str]:
    """Yield the tasks that this process should do, one after the other; each stays claimed until the next is requested.

    The iterator ends when every task is done, by any process: it waits for the tasks of other processes and takes over
    those of dead ones.

    Args:
        folder: where the claims are, the same for all processes; it is made if it is missing.
        names: all tasks, as plain file names, in the order in which to do them.
        done: whether a task is done. It is called at the start, and again once the task is claimed.
        wait: if False, end as soon as all remaining tasks are claimed by other processes.

    Raises:
        FromNoiseError: see `Claims.claimed`.
        OSError: if no file can be made there.
    """
    left = [name for name in names if not done(name)]
    if left:
        folder.mkdir(parents=True, exist_ok=True)
    claims = Claims()
    while left:
        others = []
        for name in left:
            with claims.claimed(folder / f"{name}.claim") as own:
                if not own:
                    others.append(name)
                elif not done(name):
                    yield name
        left = others
        if left and not wait:
            return
        if left:
            time.sleep(_LOOK_AGAIN)


class Claims:
    """What this process has seen of other processes' claims.

    Args:
        every: seconds between signs of life of this process.
        patience: seconds without a sign of life until a claim is taken over.
    """

    def __init__(self, every: float | None = None, patience: float | None = None):
        self.every = BEAT if every is None else every
        self.patience = PATIENCE if patience is None else patience
        self._seen: dict[Path, tuple[_Look, float]] = {}

    @contextmanager
    def claimed(self, path: Path) -> Iterator[bool]:
        """Hold a claim inside the block; yields False if another, living process holds it.

        Args:
            path: the claim's file, in a folder that exists; it is removed after the block.

        Raises:
            FromNoiseError: if something other than a file is there.
            OSError: if no file can be made there.
        """
        claim = Claim.taken(path, self.every) or self._taken_over(path)
        if claim is None:
            yield False
            return
        with claim:
            yield True

    @contextmanager
    def waited_for(self, path: Path, pause: float = _LOOK_AGAIN) -> Iterator[None]:
        """Hold a claim inside the block, as `claimed` does, after waiting for any other holder."""
        while True:
            with self.claimed(path) as own:
                if own:
                    yield
                    return
            time.sleep(pause)

    def _taken_over(self, path: Path) -> "Claim | None":
        """Take over the claim of a dead process; None if its process lives or may live."""
        found = _look(path)
        if found is None:
            if os.path.isdir(path):
                raise FromNoiseError(f"{path}: must be a file, with which processes claim their work: remove it")
            return None  # released in the meantime: the next attempt takes it
        now = time.monotonic()
        before, since = self._seen.get(path, (None, now))
        self._seen[path] = found, now if found != before else since
        if now - self._seen[path][1] < self.patience and not _is_gone(found.content):
            return None
        aside = files.temporary(path.parent)
        try:
            path.rename(aside)  # of all processes that try, one succeeds
        except OSError:
            return None
        same = _look(aside) == found
        with suppress(OSError):
            if not same:  # another process was quicker, and this is its claim: put it back
                os.link(aside, path)
        files.remove(aside)
        return Claim.taken(path, self.every) if same else None


class Claim:
    """A claim that this process holds: its file shows signs of life until the block ends, and is then removed."""

    def __init__(self, path: Path, descriptor: int, every: float):
        self.path, self._descriptor, self._every = path, descriptor, every
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()

    @classmethod
    def taken(cls, path: Path, every: float = BEAT) -> Self | None:
        """Take a claim; None if another process holds it."""
        if os.path.lexists(path):
            return None
        written = files.temporary(path.parent)  # so that a claim names its holder from the start
        descriptor = os.open(written, _MADE, 0o666)
        try:
            os.write(descriptor, _me().encode())
            _named(written, path)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, FileExistsError | FileNotFoundError):  # the latter if another process cleaned up
                return None
            raise
        finally:
            files.remove(written)
        return cls(path, descriptor, every)

    def _beat(self) -> None:
        while not self._ended.wait(self._every):
            with suppress(OSError):  # the descriptor, since the name may belong to another process by now
                os.utime(self._descriptor if os.utime in os.supports_fd else self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended.set()
        self._beating.join()
        with suppress(OSError):
            mine = os.path.samestat(os.fstat(self._descriptor), self.path.lstat())
            os.close(self._descriptor)
            if mine:
                self.path.unlink()


def _named(written: Path, path: Path) -> None:
    """Give a file a name that no other file has.

    Raises:
        FileExistsError: if the name is taken.
        FileNotFoundError: if the file is gone.
    """
    try:
        os.link(written, path)
    except FileExistsError:
        with suppress(FileNotFoundError):
            if os.path.samestat(written.lstat(), path.lstat()):  # a network disk made the link, but its answer was lost
                return
        raise
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links: reserve the name first
        os.close(os.open(path, _MADE, 0o666))
        written.replace(path)


class _Look(NamedTuple):
    """A claim's file at one moment: what changes while its holder lives, and what the holder wrote."""

    inode: int
    changed: int
    content: bytes


def _look(path: Path) -> _Look | None:
    """Read a claim's file; None if there is no claim.

    The file is opened, since a network file system shows other machines' changes only then.
    """
    try:
        with files.opened(path) as file:
            status = os.fstat(file.fileno())
            return _Look(status.st_ino, status.st_mtime_ns, file.read(_LIMIT))
    except (OSError, files.Unreadable):
        return None


@cache
def _machine() -> str:
    """An identifier of this machine, its boot and its process namespace; empty if /proc does not give one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _me() -> str:
    me = {"host": socket.gethostname(), "pid": os.getpid(), "machine": _machine(), "started": _started(os.getpid())}
    return json.dumps(me)


def _started(pid: int) -> str | None:
    """When a living process of this machine started, in system ticks; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return None


def _is_gone(content: bytes) -> bool:
    """Whether a claim's holder is known to have ended: it ran on this machine and is no longer there."""
    with suppress(ValueError, TypeError, KeyError):
        holder = json.loads(content)
        if holder["machine"] and holder["machine"] == _machine():
            return _started(int(holder["pid"])) != holder["started"]
    return False
