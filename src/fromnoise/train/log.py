"""metrics.jsonl: one JSON object per line, and one line for every optimiser step."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, lines

_CHUNK, _END = 2**20, 2**16


class MetricsLog:
    """Append lines to a log; on opening, drop lines after step `last`, which a killed run may have written.

    If the log still begins as it was at the checkpoint, it is read once, for its hash, and continued in place: a
    million lines are neither rewritten nor held in memory.

    Args:
        path: path of the file.
        last: step of the checkpoint that the run continues from; 0 for a new run.
        mark: the log's `mark` at that checkpoint; if the file no longer begins with it, the file was changed.
        warn: called with a warning if the log was changed or removed.
    """

    def __init__(
        self, path: Path, last: int, mark: Mapping[str, Any] | None = None, warn: Callable[[str], None] = print
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._hash, self._bytes = hashlib.sha256(), 0
        if not os.path.lexists(path):
            if mark:
                warn(f"{path}: is gone, with the lines of {last} steps; a new log is started")
            self._file = lines.appending(path)
            return
        with files.opened(path) as there:
            for _ in self._counted(_first(there, int(mark["bytes"]) if mark else 0)):
                pass
            if mark and self._hash.hexdigest() == mark["sha256"]:
                self._file = lines.continued(path, there, self._bytes) or lines.appending(
                    path, _first(there, self._bytes)
                )
                return
            if mark:
                warn(f"{path}: was changed after it was written; the lines that can be read are kept")
            self._hash, self._bytes = hashlib.sha256(), 0
            self._file = lines.appending(path, self._counted(_whole_lines(there, last)))

    def _counted(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        for content in parts:
            self._hash.update(content)
            self._bytes += len(content)
            yield content

    def write(self, line: dict[str, Any]) -> None:
        content = json.dumps(line).encode() + b"\n"
        self._hash.update(content)
        self._bytes += len(content)
        while content:  # unbuffered, so that a full disk raises here, and not again on closing
            content = content[self._file.write(content) or 0 :]

    def mark(self) -> dict[str, Any]:
        """The log's length and SHA-256, for a checkpoint; all lines are flushed to disk first."""
        os.fsync(self._file.fileno())
        return {"bytes": self._bytes, "sha256": self._hash.hexdigest()}

    def close(self) -> None:
        self._file.close()


def newest(path: Path) -> dict[str, Any] | None:
    """The last complete line of a log, read from the end of the file; None if there is none."""
    try:
        with files.opened(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _END))
            lines = file.read(_END).split(b"\n")[:-1]
    except (OSError, FromNoiseError):
        return None
    return next((line for text in reversed(lines) if (line := _parsed(text))), None)


def _first(file: BinaryIO, count: int) -> Iterator[bytes]:
    """The first `count` bytes of a file, or all if there are fewer."""
    file.seek(0)
    while count and (content := file.read(min(count, _CHUNK))):
        count -= len(content)
        yield content


def _whole_lines(file: BinaryIO, last: int) -> Iterator[bytes]:
    """The lines of steps up to `last`, without lines that were cut off."""
    file.seek(0)
    while last and (text := file.readline(_CHUNK)):
        line = _parsed(text)
        if line is not None and line["step"] <= last:
            yield text.strip() + b"\n"


def _parsed(text: bytes) -> dict[str, Any] | None:
    """A parsed line of a log; None if it is not one."""
    with suppress(ValueError, RecursionError):
        line = json.loads(text)
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            return line
    return None
