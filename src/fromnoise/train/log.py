"""metrics.jsonl: one JSON object a line, a line for every optimiser step, each step once."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files


class MetricsLog:
    """Appends lines; on opening, lines after step `last` (written by a run that was killed) are dropped.

    Args:
        path: of the file.
        last: step of the checkpoint that is gone on from; 0 begins anew.
        mark: of the log at that checkpoint, see `mark`; where the file no longer begins so, it was changed.
        warn: told of that.
    """

    def __init__(
        self, path: Path, last: int, mark: Mapping[str, Any] | None = None, warn: Callable[[str], None] = print
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        kept = b""
        if os.path.lexists(path):
            with files.opened(path) as file:
                content = file.read()
            kept = content[: int(mark["bytes"])] if mark else b""
            if not mark or hashlib.sha256(kept).hexdigest() != mark["sha256"]:
                kept = b"".join(json.dumps(line).encode() + b"\n" for line in _whole_lines(content, path, last))
                if mark:
                    warn(f"{path}: was changed after it was written; the lines that can be read are kept")
        elif mark:
            warn(f"{path}: is gone, with the lines of {last} steps; it begins anew")
        self._file = files.appending(path, kept)
        self._hash, self._bytes = hashlib.sha256(kept), len(kept)

    def write(self, line: dict[str, Any]) -> None:
        content = json.dumps(line).encode() + b"\n"
        self._hash.update(content)
        self._bytes += len(content)
        while content:  # unbuffered, so that a full disk is met here and not again when the file is closed
            content = content[self._file.write(content) or 0 :]

    def mark(self) -> dict[str, Any]:
        """What a checkpoint holds of the log: its length and SHA-256, every line being on the disk."""
        os.fsync(self._file.fileno())
        return {"bytes": self._bytes, "sha256": self._hash.hexdigest()}

    def close(self) -> None:
        self._file.close()


def _whole_lines(content: bytes, path: Path, last: int) -> list[dict[str, Any]]:
    lines = []
    for text in content.decode(errors="replace").splitlines():
        try:
            line = files.parse_json(text, path)
        except FromNoiseError:
            continue  # cut by a kill
        if isinstance(line, dict) and isinstance(line.get("step"), int) and line["step"] <= last:
            lines.append(line)
    return lines
