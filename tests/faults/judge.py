"""What is right after a fault: one line, whole files, nothing left behind, nothing touched elsewhere."""

import hashlib
import os
import signal
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.worker import Outcome

START = "fromnoise: "


def wrong_ending(done: Outcome, statuses: tuple[int, ...] = (0, 1, 2), alone: bool = False) -> str | None:
    """What is wrong with how a command ended; None where it is 0, or a status with one line that says why.

    Args:
        done: what it did.
        statuses: allowed ones.
        alone: whether nothing else may have been said, as before any work was begun.
    """
    if done.stuck:
        return "stuck: it went on after SIGINT"
    if "Traceback" in done.err or "Traceback" in done.out:
        return f"traceback: {_last(done.err)}"
    if done.status not in statuses:
        return f"exit status {done.status}: {_last(done.err)}"
    if done.status == 0:
        return None
    lines = [line for line in done.err.splitlines() if line.strip() and not line.startswith(f"{START}warning: ")]
    said = [line for line in lines if line.startswith(START)]
    if len(said) != 1 or (alone and len(lines) != 1):
        return f"{len(said)} lines that start {START!r} of {len(lines)}: {_last(done.err)}"
    if any(unicodedata.category(sign) == "Cc" for sign in done.err.replace("\n", "").replace("\t", "")):
        return f"control characters reach the terminal: {_last(done.err)!r}"
    return None


def unnamed(done: Outcome, paths: Iterable[str]) -> str | None:
    """Whether the line of a failed command names none of the files, of the folders they are in, nor of the outputs."""
    line = next((line for line in done.err.splitlines() if line.startswith(START) and "warning" not in line[:20]), "")
    parts = {part for path in paths for part in Path(path).parts if not part.startswith(".")}
    return None if "toy-" in line or any(part in line for part in parts) else f"the line names no file: {line[:200]}"


def leftovers(folder: Path) -> list[str]:
    """Temporary names below a folder."""
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.name.startswith((".writing-", ".old-", ".tmp")))
    return sorted(map(str, found))


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block when its time is up, wherever Python is."""

    def late(*received: object) -> None:
        raise TimeoutError(f"not at its end after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def tree(folder: Path) -> dict[str, str]:
    """What is below a folder: of files their content, of links where they lead, of the rest what it is."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                what = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                what = os.readlink(path) if stat.S_ISLNK(mode) else oct(stat.S_IFMT(mode))
            found[str(path.relative_to(folder))] = what
    return found


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return (lines or ["it said nothing"])[-1][:300]
