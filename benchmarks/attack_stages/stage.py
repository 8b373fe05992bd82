"""Stages, and how their trials are counted, reported and repeated."""

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from faults import worker
from faults.workshop import Workshop

Trial = Callable[[int, random.Random], str | None]
"""Maps (number, its own random numbers) to what was wrong, or None."""


@dataclass(frozen=True)
class Stage:
    """A kind of attack.

    Attributes:
        name: name of the row.
        full: number of trials at --share 1.
        prepare: makes the trial function, once, after an undisturbed reference run.
        together: number of trials per process, for attacks that only read; 0 means a process for each.
        quick: number of trials with --quick.
    """

    name: str
    full: int
    prepare: Callable[[Workshop, int], Trial]
    together: int = 0
    quick: int = 2

    def numbers(self, share: float, quick: bool = False) -> list[int]:
        """Numbers of the trials to run, evenly spread over all."""
        n = min(self.full, max(1, self.quick if quick else round(self.full * share)))
        return [i * self.full // n for i in range(n)]


@dataclass
class Row:
    """The result of a stage."""

    name: str
    tried: int = 0
    survived: int = 0
    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        rate = 100 * self.survived / max(self.tried, 1)
        return f"{self.name:<28}{self.tried:>8}{self.survived:>10}{rate:>9.2f} %{self.seconds:>9.0f} s"


def run(stage: Stage, shop: Workshop, seed: int, numbers: list[int], failures: Path) -> Row:
    """Run the trials with these numbers; writes each failure to the file, with the command that repeats it."""
    row, began = Row(stage.name), time.monotonic()
    for number, wrong in _answers(stage, shop, seed, numbers):
        row.tried += 1
        if wrong is None:
            row.survived += 1
            continue
        kind = _kind(wrong)
        row.kinds[kind] += 1
        row.examples.setdefault(kind, wrong)
        with failures.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{stage.name} {number}: {wrong}\n")
            file.write(f"    python benchmarks/attack.py --seed {seed} --only {stage.name} --trial {number}\n")
    row.seconds = time.monotonic() - began
    return row


def rng(seed: int, stage: str, number: int) -> random.Random:
    """A trial's own random numbers, independent of which other trials run."""
    return random.Random(f"{seed} {stage} {number}")


def _answers(stage: Stage, shop: Workshop, seed: int, numbers: list[int]) -> Iterator[tuple[int, str | None]]:
    trial = stage.prepare(shop, seed)
    if stage.together:
        place = shop.copy()
        function = lambda number: trial(number, rng(seed, stage.name, number))  # noqa: E731
        yield from worker.each(function, numbers, place, seconds=60 + stage.together, size=stage.together)
        shop.drop(place)
        return
    for number in numbers:
        yield number, trial(number, rng(seed, stage.name, number))


def _kind(wrong: str) -> str:
    """The kind of a failure: its text without names and numbers."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", wrong)
    return re.sub(r"[0-9a-f]{6,}|-?\d[\d.,e+]*", "#", text)[:110]


def table(rows: list[Row]) -> str:
    """A Markdown table of all stages."""
    lines = ["| attack | tried | survived | share | seconds |", "|---|---:|---:|---:|---:|"]
    for row in [*rows, _total(rows)]:
        share = 100 * row.survived / max(row.tried, 1)
        lines.append(f"| {row.name} | {row.tried:,} | {row.survived:,} | {share:.2f} % | {row.seconds:.0f} |")
    return "\n".join(lines)


def kinds(row: Row, most: int = 8) -> list[str]:
    """The most common failures of a stage, one line each."""
    found = row.kinds.most_common()
    lines = [f"    {count} x {row.examples[kind][:200]}" for kind, count in found[:most]]
    return lines + ([f"    and {len(found) - most} other kinds"] if len(found) > most else [])


def as_json(rows: list[Row]) -> str:
    """JSON for programs: what each stage tried and survived, and its failures."""
    return json.dumps([vars(row) for row in rows], indent=1) + "\n"


def _total(rows: list[Row]) -> Row:
    return Row("all", sum(r.tried for r in rows), sum(r.survived for r in rows), sum(r.seconds for r in rows))
