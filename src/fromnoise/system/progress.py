"""Progress with the time left: a bar in a terminal or a notebook, elsewhere a line every half minute."""

import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import (  # fmt: skip
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fromnoise.errors import printable

_EVERY = 30.0


def say(text: str) -> None:
    """Print a line for the user on standard error, so that standard output carries only data."""
    print(printable(text), file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Print a warning for the user; the work continues."""
    say(f"fromnoise: warning: {text}")


def _in_a_notebook() -> bool:
    """Whether this runs in a notebook, where rich can draw bars."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return type(shell).__name__ == "ZMQInteractiveShell"


class Bar:
    """The progress of one task: call `advance` as it proceeds and `close` at the end.

    Args:
        what: shown before the bar.
        total: units of work; fractions are allowed.
        counts: whether to show "done/total"; if False, a percentage.
        lines: whether to print a line every half minute if no bar can be drawn.
    """

    def __init__(self, what: str, total: float, counts: bool = True, lines: bool = True):
        self.lines = lines
        self.what, self.total, self.done, self.note = printable(what), total, 0.0, ""
        self._live: Progress | None = None
        self._last = self._start = time.monotonic()
        if sys.stderr.isatty() or _in_a_notebook():
            middle = MofNCompleteColumn() if counts else TaskProgressColumn()
            name, note = (TextColumn(f"{{task.{of}}}", markup=False) for of in ("description", "fields[note]"))
            columns = (name, BarColumn(), middle, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), note)
            self._live = Progress(*columns, console=Console(stderr=True))
            self._task = self._live.add_task(self.what, total=total, note="")
            self._live.start()

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note
        if self._live is not None:
            self._live.update(self._task, completed=min(self.done, self.total), note=self.note)
            return
        now = time.monotonic()
        if self.lines and now - self._last >= _EVERY:
            self._last = now
            left = (now - self._start) * (self.total / self.done - 1) if self.done else 0
            say(f"{self.what}: {100 * self.done / self.total:.0f} %, {_clock(left)} left {self.note}".rstrip())

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
        elif self.note and self.lines:
            say(f"{self.what}: {self.note}")

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def counter(what: str, total: int) -> Callable[[], None]:
    """A function to call once for each item; a bar is shown for 500 items or more."""
    if total < 500:
        return lambda: None
    bar = Bar(what, total)

    def tick() -> None:
        bar.advance()
        if bar.done >= total:
            bar.close()

    return tick


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
