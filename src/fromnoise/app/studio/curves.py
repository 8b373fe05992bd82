"""metrics.jsonl as columns, read incrementally."""

import json
import os
import threading
from array import array
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fromnoise.app.studio.shelf import within
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

MOST = 2000
"""The most points sent of a curve; longer curves are averaged in equal parts."""
READ = 100_000
"""About how many lines one look parses. Of a longer log it parses every k-th line, and lines with extra numbers."""
_PART, _END, _TAIL = 4 * 2**20, 2**16, 200
_MOST_COLUMNS = 200
_NONE = float("nan")


class Curves:
    """The log of one run, read only when somebody looks at it.

    A log of up to `READ` lines is parsed completely. Of a longer log an evenly spread share is parsed: each point of
    a curve is still the mean of some 50 lines or more, and a million lines are read within a second.
    """

    def __init__(self, run: Path):
        self.path = run / "metrics.jsonl"
        self._begin(0)
        self._end: tuple[Any, dict[str, Any] | None] = (None, None)
        self._lock = threading.Lock()

    def after(self, step: int) -> dict[str, Any]:
        """Return the curves after a step as {"from", "last", "lines", "columns"}.

        "columns" maps names to numbers, e.g. {"step": [...], "loss": [...]}, with null where a step has no value. With
        more than `MOST` steps, each point is the mean of a part. "from" is 0 if the log was begun anew, so that these
        are all of its steps. "last" is the last step, "lines" the number of lines in the log.
        """
        with self._lock:
            self._read_on()
            steps = self._columns["step"]
            last, first = int(steps[-1]) if steps else 0, len(steps)
            if step > last:  # the log was begun anew
                step = 0
            while step and first and steps[first - 1] > step:
                first -= 1
            first = first if step else 0
            new = {name: np.array(column[first:]) for name, column in sorted(self._columns.items())}
            count = self._lines
        columns = {name: _thinned(found) for name, found in new.items() if len(found) and not np.isnan(found).all()}
        return {"from": step, "last": last, "lines": count, "columns": columns}

    def newest(self) -> dict[str, Any] | None:
        """Return the last line of the log, read from the end of the file; None if there is none."""
        with self._lock:
            try:
                with self._opened() as file:
                    status = os.fstat(file.fileno())
                    key = status.st_ino, status.st_size, status.st_mtime_ns
                    if key != self._end[0]:
                        file.seek(max(0, status.st_size - _END))
                        lines = reversed(file.read(_END).split(b"\n")[:-1])
                        self._end = key, next((line for text in lines if (line := _parsed(text))), None)
            except (OSError, FromNoiseError):
                return None
            return self._end[1]

    def _opened(self) -> BinaryIO:
        if not within(self.path.parent, self.path.name):
            raise FromNoiseError(f"{self.path}: is a link that leads out of the run")
        return files.opened(self.path)

    def _begin(self, inode: int) -> None:
        self._offset, self._lines, self._inode, self._tail = 0, 0, inode, b""
        self._columns: dict[str, array[float]] = {"step": array("d")}

    def _read_on(self) -> None:
        try:
            with self._opened() as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or not self._goes_on(file):
                    self._begin(status.st_ino)
                file.seek(self._offset)
                every = 0
                while content := file.read(_PART):
                    whole = content[: content.rfind(b"\n") + 1]
                    if not whole:
                        break
                    every = every or 1 + (status.st_size - self._offset) * whole.count(b"\n") // (len(whole) * READ)
                    self._offset += len(whole)
                    self._tail = whole[-_TAIL:]
                    self._take(whole, every)
                    file.seek(self._offset)
        except (OSError, FromNoiseError):
            return

    def _goes_on(self, file: BinaryIO) -> bool:
        """Whether the part already read is unchanged: a resumed run cuts its log and continues it."""
        file.seek(self._offset - len(self._tail))
        return file.read(len(self._tail)) == self._tail

    def _take(self, whole: bytes, every: int) -> None:
        """Parse every `every`-th line, the last one, and lines with extra numbers, such as validation losses."""
        signs = np.frombuffer(whole, np.uint8)
        ends = np.flatnonzero(signs == ord("\n")) + 1
        taken = np.arange(self._lines, self._lines + len(ends)) % every == 0
        taken[-1] = True
        if every > 1:
            colons = np.diff(np.searchsorted(np.flatnonzero(signs == ord(":")), ends), prepend=0)
            more = colons > np.median(colons)
            taken |= more & (more.mean() < 1 / every)
        self._lines += len(ends)
        starts = np.concatenate([[0], ends[:-1]])
        for start, end in zip(starts[taken].tolist(), ends[taken].tolist(), strict=True):
            if (line := _parsed(whole[start:end])) is not None:
                self._add(line)

    def _add(self, line: dict[str, Any]) -> None:
        count = len(self._columns["step"])
        for name in line:
            if name not in self._columns and len(self._columns) < _MOST_COLUMNS:
                self._columns[name] = array("d", [_NONE]) * count
        for name, column in self._columns.items():
            column.append(line.get(name, _NONE))


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or type(line.get("step")) is not int or not 0 <= line["step"] < 2**53:
        return None
    return {k: v for k, v in line.items() if isinstance(v, int | float) and v == v and abs(v) < 1e300}


def _thinned(values: np.ndarray) -> list[float | None]:
    """Average equal parts, ignoring missing values; six digits are enough for a screen."""
    if len(values) > MOST:
        starts = np.arange(MOST + 1) * len(values) // MOST
        there = ~np.isnan(values)
        count = np.add.reduceat(there, starts[:-1], dtype=np.int64)
        total = np.add.reduceat(np.where(there, values, 0.0), starts[:-1])
        values = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return [None if v != v else int(v) if v == int(v) else float(f"{v:.6g}") for v in values.tolist()]
