"""metrics.jsonl: one JSON object a line, a line for every optimiser step, each step once."""

import json
import os
from pathlib import Path
from typing import Any

from fromnoise.storage import write_text


class MetricsLog:
    """Appends lines; on opening, lines after step `last` (written by a run that was killed) are dropped."""

    def __init__(self, path: Path, last: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        if path.exists():
            kept = [line for line in _whole_lines(path) if line["step"] <= last]
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Have every line on the disk: before a checkpoint that counts on them."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # cut by a kill
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines
