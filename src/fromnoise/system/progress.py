"""Progress with the time left: bars in a terminal or a notebook, now and then a line elsewhere."""

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
    """A line for the person, on standard error, so that standard output stays data."""
    print(printable(text), file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """A line of what a person should know, and the work goes on."""
    say(f"fromnoise: warning: {text}")


def _in_a_notebook() -> bool:
    """Whether a notebook shows what is printed; rich then draws there."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return type(shell).__name__ == "ZMQInteractiveShell"


class Bar:
    """One task: `advance` it, `close` it.

    Args:
        what: shown before the bar.
        total: units of work; fractions are allowed.
        counts: whether "done/total" means something to a person.
        lines: whether to say a line now and then where no bar can be drawn.
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
    """A function to call once for each item; the bar shows only where there is much to do."""
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
