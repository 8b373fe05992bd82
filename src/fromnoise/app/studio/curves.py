"""metrics.jsonl as columns, read on from where the last look ended."""

import json
import os
import threading
from pathlib import Path
from typing import Any

from fromnoise.app.studio.shelf import within
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

MOST = 2000
"""Points of a curve that are sent; longer ones are averaged in equal parts."""
_PART = 4 * 2**20


class Curves:
    """The log of one run."""

    def __init__(self, run: Path):
        self.path = run / "metrics.jsonl"
        self._offset, self._inode = 0, 0
        self._lines: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def after(self, step: int) -> dict[str, Any]:
        """{"step": [...], "loss": [...], ...} of the steps after one, and whether it is all that there is of them.

        Numbers that a step has not are null. From the beginning, `MOST` points at most, each the mean of a part.
        """
        with self._lock:
            self._read_on()
            lines = self._lines
        last = lines[-1]["step"] if lines else 0
        if step > last:  # the log was begun anew
            step = 0
        new = [line for line in lines if line["step"] > step] if step else lines
        names = sorted({name for line in (*new[:50], *new[-50:]) for name in line})
        columns = {name: _thinned([line.get(name) for line in new]) for name in names}
        return {"from": step, "last": last, "lines": len(lines), "columns": columns}

    def newest(self) -> dict[str, Any] | None:
        """The last line."""
        with self._lock:
            self._read_on()
            return self._lines[-1] if self._lines else None

    def _read_on(self) -> None:
        if not within(self.path.parent, self.path.name):
            return
        try:
            with files.opened(self.path) as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._offset:
                    self._offset, self._inode, self._lines = 0, status.st_ino, []
                file.seek(self._offset)
                while content := file.read(_PART):
                    whole = content[: content.rfind(b"\n") + 1]
                    if not whole:
                        break
                    self._offset += len(whole)
                    self._lines += [line for text in whole.splitlines() if (line := _parsed(text)) is not None]
                    file.seek(self._offset)
        except (OSError, FromNoiseError):
            return


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return None
    return {k: v for k, v in line.items() if isinstance(v, int | float) and v == v and abs(v) < 1e300}


def _thinned(values: list[Any]) -> list[Any]:
    """Means of equal parts, of those that are numbers."""
    if len(values) <= MOST:
        return [_short(v) for v in values]
    found = []
    for i in range(MOST):
        part = [v for v in values[i * len(values) // MOST : (i + 1) * len(values) // MOST] if v is not None]
        found.append(_short(sum(part) / len(part)) if part else None)
    return found


def _short(value: Any) -> Any:
    """Six digits, which no screen shows more of."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
