"""Work that processes share through a folder: each piece is one process' at a time, and a dead one's is taken over.

The processes may run anywhere, start at any time and end in any way; all that they share is the folder, on a local
disk or a network's. A claim is the file NAME.claim: only one process can give a file that name. Its holder sets the
file's time every `BEAT` seconds. A claim whose time has stood still for `PATIENCE` seconds is that of a dead process.
Each watcher measures this by its own clock alone, so clocks that differ do no harm. On the same Linux machine /proc
says at once that a process is gone.

A process that hangs for longer than `PATIENCE` and then goes on does a piece that another does, too. So a piece must be
one that can be done twice: its result is the same and is written in one step, as `storage.write_folder` does.
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
"""Seconds between two signs of life, and without one until a claim is taken over: more than the minute for which a
network's file system may show an old time."""

_LOOK_AGAIN = 0.5
_MADE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_LIMIT = 4096


def shared(folder: Path, names: Iterable[str], done: Callable[[str], bool], wait: bool = True) -> Iterator[str]:
    """The pieces that this process is to do, one after the other: each is claimed until the next one is asked for.

    Ends when every piece is done, by whomever: it waits for those of other processes and takes over those of dead ones.

    Args:
        folder: of the claims, the same for all processes; it is made where it is missing.
        names: of all pieces, plain file names, in the order in which they are to be done.
        done: whether a piece is done. It is asked at the start, and again once the piece is claimed.
        wait: else it ends as soon as all that is left is claimed by others.

    Raises:
        FromNoiseError: as `Claims.claimed`.
        OSError: no file can be made there.
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
    """What this process has seen of the claims of others.

    Args:
        every: seconds between two signs of life of this process' own.
        patience: seconds without one until a claim is taken over.
    """

    def __init__(self, every: float | None = None, patience: float | None = None):
        self.every = BEAT if every is None else every
        self.patience = PATIENCE if patience is None else patience
        self._seen: dict[Path, tuple[_Look, float]] = {}

    @contextmanager
    def claimed(self, path: Path) -> Iterator[bool]:
        """Whether the claim is this process' inside the block: not where another, living one has it.

        Args:
            path: of its file, in a folder that exists; gone after the block.

        Raises:
            FromNoiseError: something else than a file is there.
            OSError: no file can be made there.
        """
        claim = Claim.taken(path, self.every) or self._taken_over(path)
        if claim is None:
            yield False
            return
        with claim:
            yield True

    @contextmanager
    def waited_for(self, path: Path, pause: float = _LOOK_AGAIN) -> Iterator[None]:
        """As `claimed`, after whoever has it."""
        while True:
            with self.claimed(path) as own:
                if own:
                    yield
                    return
            time.sleep(pause)

    def _taken_over(self, path: Path) -> "Claim | None":
        """The claim of a process that is dead, as ours; None of one that lives or may live."""
        found = _look(path)
        if found is None:
            if os.path.isdir(path):
                raise FromNoiseError(f"{path}: must be a file, by which processes say what they work at: remove it")
            return None  # let go of since: the next look takes it
        now = time.monotonic()
        before, since = self._seen.get(path, (None, now))
        self._seen[path] = found, now if found != before else since
        if now - self._seen[path][1] < self.patience and not _is_gone(found.content):
            return None
        aside = files.temporary(path.parent)
        try:
            path.rename(aside)  # of all who try, one has it
        except OSError:
            return None
        same = _look(aside) == found
        with suppress(OSError):
            if not same:  # another was quicker, and this is its claim
                os.link(aside, path)
        files.remove(aside)
        return Claim.taken(path, self.every) if same else None


class Claim:
    """One that this process holds: its file shows signs of life until the end of the block, and is removed then."""

    def __init__(self, path: Path, descriptor: int, every: float):
        self.path, self._descriptor, self._every = path, descriptor, every
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()

    @classmethod
    def taken(cls, path: Path, every: float = BEAT) -> Self | None:
        """None where another process holds it."""
        if os.path.lexists(path):
            return None
        written = files.temporary(path.parent)  # so that a claim says whose it is from its first moment on
        descriptor = os.open(written, _MADE, 0o666)
        try:
            os.write(descriptor, _me().encode())
            _named(written, path)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, FileExistsError | FileNotFoundError):  # the latter where somebody cleaned up
                return None
            raise
        finally:
            files.remove(written)
        return cls(path, descriptor, every)

    def _beat(self) -> None:
        while not self._ended.wait(self._every):
            with suppress(OSError):  # the descriptor, since by now the name may be another's
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
    """Give a file its name, which nobody has.

    Raises:
        FileExistsError: somebody has.
        FileNotFoundError: the file is gone.
    """
    try:
        os.link(written, path)
    except FileExistsError:
        with suppress(FileNotFoundError):
            if os.path.samestat(written.lstat(), path.lstat()):  # a network did it, and lost the answer
                return
        raise
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links, where a name is reserved first
        os.close(os.open(path, _MADE, 0o666))
        written.replace(path)


class _Look(NamedTuple):
    """What changes while the holder of a claim lives, and what it wrote."""

    inode: int
    changed: int
    content: bytes


def _look(path: Path) -> _Look | None:
    """None where there is no claim.

    The file is opened for it: only then does a network's file system show what others changed.
    """
    try:
        with files.opened(path) as file:
            status = os.fstat(file.fileno())
            return _Look(status.st_ino, status.st_mtime_ns, file.read(_LIMIT))
    except (OSError, files.Unreadable):
        return None


@cache
def _machine() -> str:
    """This machine, since it was started, as far as its processes see each other; empty where /proc does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _me() -> str:
    me = {"host": socket.gethostname(), "pid": os.getpid(), "machine": _machine(), "started": _started(os.getpid())}
    return json.dumps(me)


def _started(pid: int) -> str | None:
    """When a living process of this machine was started, in the system's ticks; None of one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return None


def _is_gone(content: bytes) -> bool:
    """Whether a claim's holder is known to have ended: a process of this machine that is no longer there."""
    with suppress(ValueError, TypeError, KeyError):
        holder = json.loads(content)
        if holder["machine"] and holder["machine"] == _machine():
            return _started(int(holder["pid"])) != holder["started"]
    return False
