"""metrics.jsonl: one JSON object a line, a line for every optimiser step, each step once."""

import json
import os
from pathlib import Path
from typing import Any

from fromnoise import files


class MetricsLog:
    """Appends lines; on opening, lines after step `last` (written by a run that was killed) are dropped."""

    def __init__(self, path: Path, last: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        kept = [line for line in _whole_lines(path) if line["step"] <= last] if os.path.lexists(path) else []
        self._file = files.appending(path, "".join(json.dumps(line) + "\n" for line in kept))

    def write(self, line: dict[str, Any]) -> None:
        rest = json.dumps(line).encode() + b"\n"
        while rest:  # unbuffered, so that a full disk is met here and not again when the file is closed
            rest = rest[self._file.write(rest) or 0 :]

    def sync(self) -> None:
        """Have every line on the disk: before a checkpoint that counts on them."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    lines = []
    with files.opened(path) as file:
        texts = file.read().decode(errors="replace").splitlines()
    for text in texts:
        try:
            line = files.parse_json(text, path)
        except files.Unreadable:
            continue  # cut by a kill
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines
