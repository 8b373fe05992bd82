"""One fault at one operation of whoever writes below a folder; every operation is counted and written down.

Wrapped are the calls by which Python writes: `os.open`, `write`, `fsync`, `replace`, `rename`, `mkdir`, `unlink`,
`rmdir`, `io.open` with every write of its files, and safetensors' writer, which is not Python.
"""

import builtins
import errno
import io
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
ERRORS = {"enospc": errno.ENOSPC, "eio": errno.EIO}
TAKES_ROOM = ("open", "write", "fsync", "mkdir")
"""What goes on failing where an error lasts; removing does not, nor giving another name back."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong.

    Attributes:
        kind: none, kill, enospc, eio, short, eintr, slow, clock, or pause, which waits until the file `until` is there.
        at: at which operation, from 0.
        lasting: an error stays, as that of a full disk does.
        until: of pause; while it waits there is a file of that name and .waiting.
    """

    kind: str = "none"
    at: int = -1
    lasting: bool = False
    until: str = ""


def plant(root: Path, fault: Fault, log: int) -> None:
    """From here on this process, and what it forks, fails as it was told to.

    Args:
        root: only what is written below it counts.
        fault: what happens.
        log: descriptor to which each operation is written, a line of its name and path.
    """
    planted = _Planted(str(root.resolve()), fault, log)
    _wrap_os(planted)
    _wrap_open(planted)
    _wrap_safetensors(planted)
    if fault.kind == "clock":
        _wrap_clocks(random.Random(fault.at))


class _Planted:
    def __init__(self, root: str, fault: Fault, log: int):
        self.root, self.fault, self.log, self.count = root, fault, log, 0
        self.write, self.readlink = os.write, os.readlink

    def below(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The path inside the root, or None."""
        try:
            if isinstance(path, int):
                name = self.readlink(f"/proc/self/fd/{path}").removesuffix(" (deleted)")
            else:
                before = os.getcwd() if dir_fd is None else self.readlink(f"/proc/self/fd/{dir_fd}")
                name = os.path.normpath(os.path.join(before, os.fsdecode(path)))
        except (OSError, ValueError, TypeError):
            return None
        return os.path.relpath(name, self.root) if name.startswith(self.root + os.sep) else None

    def point(self, name: str, path: str) -> str:
        """Count an operation and do what was planted there; returns what a write has to do itself."""
        at, self.count = self.count, self.count + 1
        self.write(self.log, f"{name}\t{path}\n".encode())
        kind, hit = self.fault.kind, at == self.fault.at
        hit = hit or (self.fault.lasting and at > self.fault.at and name in TAKES_ROOM)
        if not hit:
            return ""
        if kind == "enospc" and name == "write" and self.fault.lasting and at == self.fault.at:
            return "short"  # what still fits; the next one fails
        if kind in ERRORS:
            raise OSError(ERRORS[kind], os.strerror(ERRORS[kind]), path)
        if kind == "kill" and name != "write":
            _die()
        if kind == "slow":
            time.sleep(0.2)
        if kind == "pause":
            self._wait()
        return kind

    def _wait(self) -> None:
        waiting = f"{self.fault.until}.waiting"
        os.close(_REAL["open"](waiting, os.O_WRONLY | os.O_CREAT))
        for _ in range(6000):
            if os.path.exists(self.fault.until):
                return
            time.sleep(0.005)


_REAL: dict[str, Callable[..., Any]] = {
    name: getattr(os, name)
    for name in ("open", "write", "fsync", "fdatasync", "replace", "rename", "mkdir", "unlink", "remove", "rmdir")
}


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _wrap_os(planted: _Planted) -> None:
    def opening(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & WRITES and (name := planted.below(path, dir_fd)) is not None:
            planted.point("open", name)
        return _REAL["open"](path, flags, mode, dir_fd=dir_fd)

    def writing(descriptor: int, data: Any) -> int:
        if (name := planted.below(descriptor)) is not None:
            data = _part(planted, name, data, lambda part: _REAL["write"](descriptor, part), interrupts=False)
        return _REAL["write"](descriptor, data)

    def of(name: str, called: str, place: int = 0) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            directory = kwargs.get("dst_dir_fd" if place else "dir_fd")
            if (below := planted.below(args[place], directory)) is not None:
                planted.point(called, below)
            return _REAL[name](*args, **kwargs)

        return call

    os.open, os.write = opening, writing
    for name, called, place in (
        ("fsync", "fsync", 0), ("fdatasync", "fsync", 0), ("replace", "rename", 1), ("rename", "rename", 1),
        ("mkdir", "mkdir", 0), ("unlink", "unlink", 0), ("remove", "unlink", 0), ("rmdir", "unlink", 0),
    ):  # fmt: skip
        setattr(os, name, of(name, called, place))


def _part(planted: _Planted, name: str, data: Any, write: Callable[[Any], int], interrupts: bool = True) -> Any:
    """What of the data is to be written; a killed writer has written half of it."""
    whole = memoryview(data).cast("B")
    half = whole[: (len(whole) + 1) // 2]
    kind = planted.point("write", name)
    if kind == "kill":
        write(half)
        _die()
    if kind == "eintr" and interrupts:
        raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
    return half if kind == "short" else data


class _Raw(io.FileIO):
    """A file whose every write is counted."""

    planted: _Planted
    place: str
    buffered = True

    def write(self, data: Any) -> int:
        return super().write(_part(self.planted, self.place, data, super().write, self.buffered))

    def readable(self) -> bool:
        return True  # numpy and Pillow write past a BufferedWriter, in C; not past a BufferedRandom, which must read


def _wrap_open(planted: _Planted) -> None:
    real = io.open

    def opening(
        file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None,
        closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        place = planted.below(file) if set(mode) & set("wax+") else None
        if place is None:
            return real(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if not isinstance(file, int):
            planted.point("open", place)
        raw = _Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        raw.planted, raw.place, raw.buffered = planted, place, buffering != 0
        if buffering == 0:
            return raw
        binary = io.BufferedRandom(raw) if raw.seekable() else io.BufferedWriter(raw)
        if "b" in mode:
            return binary
        text = io.TextIOWrapper(binary, encoding or "utf-8", errors, newline, line_buffering=buffering == 1)
        text.mode = mode
        return text

    io.open = builtins.open = opening


def _wrap_safetensors(planted: _Planted) -> None:
    """Its file is written in Rust; here by Python, with the errors that Rust's would be."""
    import safetensors
    import safetensors.torch as own

    real = own.serialize_file

    def writing(tensors: Any, path: Any, metadata: Any = None) -> None:
        if planted.below(path) is None:
            real(tensors, path, metadata)
            return
        content = safetensors.serialize(tensors, metadata)
        try:
            with io.open(path, "wb") as file:  # noqa: UP020  (the wrapped one)
                file.write(content)
        except OSError as error:
            raise safetensors.SafetensorError(
                f"Error while serializing: I/O error: {error.strerror} (os error {error.errno})"
            ) from None

    own.serialize_file = writing


def _wrap_clocks(rng: random.Random) -> None:
    """The wall clock jumps both ways, the others forward: a clock that is set, a laptop that sleeps."""

    def jumping(real: Callable[[], float], least: float) -> Callable[[], float]:
        moved = 0.0

        def now() -> float:
            nonlocal moved
            if rng.random() < 0.2:
                moved += rng.uniform(least, 1.0) * 10 ** rng.uniform(0, 8)
            return real() + moved

        return now

    time.time = jumping(time.time, -1.0)
    time.perf_counter = jumping(time.perf_counter, 0.0)
    time.monotonic = jumping(time.monotonic, 0.0)
