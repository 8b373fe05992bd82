"""Commands in forked processes: torch is imported once, and a trial costs what the command costs."""

import contextlib
import gc
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from faults.plant import Fault, plant

Body = Callable[[], int]


@dataclass
class Outcome:
    """What a process did.

    Attributes:
        status: of its exit; minus the number of the signal that ended it.
        out, err: what it said.
        seconds, megabytes: what it took.
        interrupted: it was still at work when its time was up, and was sent SIGINT.
        stuck: and went on, and was killed.
        operations: (name, path) of everything it wrote.
    """

    status: int
    out: str
    err: str
    seconds: float
    megabytes: float
    interrupted: bool = False
    stuck: bool = False
    operations: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Started:
    """A process at work; its output lies in files beside the folder it works in."""

    pid: int
    notes: Path
    began: float

    def finish(self, seconds: float = 60.0, grace: float = 10.0) -> Outcome:
        """Wait for its end: at most so long until it is interrupted, and then at most `grace`."""
        interrupted = stuck = False
        descriptor = os.pidfd_open(self.pid)
        try:
            if not _ended(descriptor, seconds):
                interrupted = True
                os.kill(self.pid, signal.SIGINT)
                if not _ended(descriptor, grace):
                    stuck = True
                    os.killpg(self.pid, signal.SIGKILL)
        finally:
            os.close(descriptor)
        _, code, used = os.wait4(self.pid, 0)
        status = -os.WTERMSIG(code) if os.WIFSIGNALED(code) else os.WEXITSTATUS(code)
        said = [_text(self.notes.with_suffix(ending)) for ending in (".out", ".err", ".log")]
        operations = [tuple(line.split("\t", 1)) for line in said[2].splitlines() if "\t" in line]
        for ending in (".out", ".err", ".log"):
            self.notes.with_suffix(ending).unlink(missing_ok=True)
        return Outcome(status, said[0], said[1], time.monotonic() - self.began, used.ru_maxrss / 1024,
                       interrupted, stuck, operations)  # fmt: skip

    def is_there(self) -> bool:
        """Whether it has not ended."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def start(body: Body, folder: Path, fault: Fault | None = None, gigabytes: float = 4.0) -> Started:
    """Fork; the child works in `folder`, where its cache is too, with at most so much more address space."""
    notes = folder.parent / f"{folder.name}-{time.monotonic_ns()}.out"
    sys.stdout.flush()
    sys.stderr.flush()
    began = time.monotonic()
    pid = os.fork()
    if pid:
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        return Started(pid, notes, began)
    status = 1
    try:
        _prepare(folder, notes, gigabytes, fault)
        status = body()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # the interpreter's own word, and its status
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        with contextlib.suppress(BaseException):
            sys.stderr.flush()
        os._exit(status or 0)


def trial(
    body: Body, folder: Path, fault: Fault | None = None, seconds: float = 60.0, gigabytes: float = 4.0
) -> Outcome:
    """Start and finish."""
    return start(body, folder, fault, gigabytes).finish(seconds)


def command(*arguments: str) -> Body:
    """A command line of fromnoise."""

    def body() -> int:
        from fromnoise.app.cli import main

        return main([str(a) for a in arguments])

    return body


def warm(bodies: Iterable[Body], folder: Path) -> None:
    """Import here what the bodies import, so that no trial has to."""

    listed = folder.parent / "modules"
    for body in bodies:

        def listing(body: Body = body) -> int:
            status = body()
            listed.write_text("\n".join(sys.modules))
            return status

        done = trial(listing, folder)
        if done.status:
            raise RuntimeError(f"a command that must work does not: {done.err}")
        for name in listed.read_text().split("\n"):
            if name.split(".")[0] in ("torch", "fromnoise", "numpy", "PIL", "yaml", "pydantic", "tyro", "rich", "matplotlib",
                                      "safetensors", "filelock"):  # fmt: skip
                with contextlib.suppress(Exception):
                    __import__(name)
    gc.collect()
    gc.freeze()


def each(function: Callable[[int], str | None], numbers: Iterable[int], folder: Path, seconds: float = 60.0,
         size: int = 200, gigabytes: float = 3.0) -> Iterator[tuple[int, str | None]]:  # fmt: skip
    """(number, what was wrong or None), many in one process; whatever ends the process is what was wrong with that one."""
    todo = list(numbers)
    answers = folder.parent / f"{folder.name}.answers"
    while todo:
        answers.write_text("")

        def body(own: list[int] = todo[:size]) -> int:
            with answers.open("a") as file:
                for number in own:
                    file.write(f"{number}\t")
                    file.flush()
                    wrong = function(number)
                    file.write(" ".join(wrong.split()) if wrong else "")
                    file.write("\n")
            return 0

        done = trial(body, folder, seconds=seconds, gigabytes=gigabytes)
        *whole, cut = answers.read_text().split("\n")
        for line in whole:
            yield todo.pop(0), line.partition("\t")[2] or None
        if cut or (done.status and todo):
            how = "was stuck" if done.interrupted else f"ended with {done.status}"
            yield todo.pop(0), f"the process {how}: {' '.join(done.err[-400:].split())}"
    answers.unlink(missing_ok=True)


def _prepare(folder: Path, notes: Path, gigabytes: float, fault: Fault | None) -> None:
    os.setpgid(0, 0)
    os.chdir(folder)
    os.environ |= {"FROMNOISE_CACHE": str(folder / "cache"), "HOME": str(folder)}
    for number, ending in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(notes.with_suffix(ending), os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for name, number in (("stdout", 1), ("stderr", 2)):  # under pytest they are not the process's own
        errors = "strict" if number == 1 else "backslashreplace"
        stream = os.fdopen(number, "w", encoding="utf-8", errors=errors, closefd=False)
        setattr(sys, name, stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, 2**30))  # what fills the disk would be memory here
    size = int(_text(Path("/proc/self/statm")).split()[0]) * resource.getpagesize()
    limit = size + int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if fault is not None:
        plant(folder, fault, os.open(notes.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND))


def _ended(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
