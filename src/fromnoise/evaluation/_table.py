"""Quality against the number of steps, from DDIM to DDPM: the table of Sedykh fig 4.2."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fromnoise.evaluation._evaluate import evaluate
from fromnoise.evaluation._reference import Reference
from fromnoise.evaluation._report import short
from fromnoise.features._base import Extractor
from fromnoise.runs import Choice, Model
from fromnoise.samplers.ancestral import Ancestral
from fromnoise.samplers.ddim import DDIM
from fromnoise.train.distributed import Processes

STEPS = (10, 20, 50, 100, 1000)
SPACINGS = ("ddim", "quadratic")
LONG = 1000
"""From this many steps on a table takes fewer samples."""

# As the reference code samples: x_0 is clipped in the last row alone.
_ROWS: dict[str, dict[str, Any]] = {
    f"eta {eta:.1f}": {"sampler": DDIM(eta), "clip": False} for eta in (0.0, 0.2, 0.5, 1.0)
} | {"sigma-hat": {"sampler": Ancestral("fixed_large"), "clip": True}}

# Sedykh fig 4.2, which is DDIM's table 1 (Song et al. 2021): FID of 50,000 samples; quadratic for CIFAR-10 alone.
PAPER: dict[str, tuple[str, dict[str, tuple[float, ...]]]] = {
    "cifar10": (
        "quadratic",
        {
            "eta 0.0": (13.36, 6.84, 4.67, 4.16, 4.04),
            "eta 0.2": (14.04, 7.11, 4.77, 4.25, 4.09),
            "eta 0.5": (16.66, 8.35, 5.25, 4.46, 4.29),
            "eta 1.0": (41.07, 18.36, 8.01, 5.78, 4.73),
            "sigma-hat": (367.43, 133.37, 32.72, 9.99, 3.17),
        },
    ),
    "celeba": (
        "ddim",
        {
            "eta 0.0": (17.33, 13.73, 9.17, 6.53, 3.51),
            "eta 0.2": (17.66, 14.11, 9.51, 6.79, 3.64),
            "eta 0.5": (19.86, 16.06, 11.01, 8.09, 4.28),
            "eta 1.0": (33.12, 26.03, 18.48, 13.93, 5.98),
            "sigma-hat": (299.71, 183.83, 71.71, 45.20, 3.26),
        },
    ),
}


@dataclass(frozen=True)
class Cell:
    """One entry: which row and column, and once it is measured, its figure."""

    spacing: str
    row: str
    steps: int
    n: int
    value: float | None = None
    nfe: float | None = None
    seconds: float | None = None


@dataclass
class StepsTable:
    """eta 0, 0.2, 0.5, 1 and sigma-hat against 10, 20, 50, 100 and 1000 steps, without guidance.

    The cheapest columns come first, so that a table that is stopped early is of use; samples stay on the disk, and
    asking again goes on. Source: Sedykh fig 4.2.

    Args:
        model, reference, name, extractor, folder: as in `evaluate`.
        n: samples of each entry.
        n_long: of entries with 1000 steps and more.
        steps: columns; those above the length of the model's chain are left out.
        spacings: sub-sequences.
    """

    model: Model
    reference: Reference
    name: str
    extractor: Extractor
    folder: Path
    n: int
    n_long: int
    steps: Sequence[int] = STEPS
    spacings: Sequence[str] = SPACINGS

    def __post_init__(self) -> None:
        length = self.model.denoiser.schedule.chain.steps
        columns = [s for s in sorted(self.steps) if s <= length]
        self.cells = [
            Cell(spacing, row, s, self.n if s < LONG else self.n_long)
            for s in columns
            for spacing in self.spacings
            for row in _ROWS
        ]

    def cost(self, batch_size: int) -> float:
        """Units of `advance` that a run takes when nothing is on the disk yet."""
        return sum(c.n / batch_size * self._choice(c).calls(self.model.denoiser) for c in self.cells)

    def _choice(self, cell: Cell) -> Choice:
        return Choice(**_ROWS[cell.row], steps=cell.steps, spacing=cell.spacing, guidance=1.0, label=None)

    def run(
        self, batch_size: int, processes: Processes, advance: Callable[[float], None] = lambda amount: None
    ) -> Iterator[list[Cell]]:
        """Measure entry after entry; after each, all entries so far. `advance` is told of the share of `cost` done."""
        done: list[Cell] = []
        for cell in self.cells:
            choice = self._choice(cell)
            found = evaluate(
                self.model,
                choice,
                self.reference,
                self.name,
                self.extractor,
                n=cell.n,
                folder=self.folder,
                metrics=("frechet",),
                batch_size=batch_size,
                processes=processes,
                quiet=True,
            )
            how = found["sampling"]
            done.append(replace(cell, value=found["value"], nfe=how["nfe"], seconds=how["seconds"]))
            advance(cell.n / batch_size * choice.calls(self.model.denoiser))
            yield done

    def figure(self, n: int) -> str:
        """What an entry of n samples is called."""
        return f"{self.extractor.title('FD')}-{short(n)}"

    def as_csv(self, cells: Sequence[Cell]) -> str:
        """One line an entry, with the paper's figure where the data are the same."""
        out = io.StringIO()
        names = ("spacing", "row", "steps", "n", "figure", "value", "nfe", "seconds", "paper")
        writer = csv.DictWriter(out, names, lineterminator="\n")
        writer.writeheader()
        for c in cells:
            writer.writerow({**vars(c), "figure": self.figure(c.n), "paper": self._paper(c)})
        return out.getvalue()

    def as_markdown(self, cells: Sequence[Cell]) -> str:
        """A table for each spacing; the paper's figure in brackets where the data are the same."""
        found = {(c.spacing, c.row, c.steps): c for c in cells}
        columns = sorted({c.steps for c in self.cells})
        heads = [f"{s}" if s < LONG else f"{s} (n = {self.n_long})" for s in columns]
        real = f"{self.reference.about['n']:,} reference images of {self.reference.about['data']}"
        how = "no guidance; x0 clipped in the row sigma-hat alone"
        lines = [f"{self.figure(self.n)} against the number of steps, {real}; {how}."]
        for spacing in self.spacings:
            lines += ["", f"| {spacing} | {' | '.join(heads)} |", "|---|" + "--:|" * len(heads)]
            for row in _ROWS:
                entries = [self._entry(found.get((spacing, row, s))) for s in columns]
                lines.append(f"| {row} | {' | '.join(entries)} |")
        return "\n".join(lines) + "\n"

    def _entry(self, cell: Cell | None) -> str:
        if cell is None or cell.value is None:
            return ""
        paper = self._paper(cell)
        return f"{cell.value:.2f}" + (f" ({paper:.2f})" if paper else "")

    def _paper(self, cell: Cell) -> float | None:
        known: tuple[str, Mapping[str, Sequence[float]]] | None = PAPER.get(self.reference.about["data"].split(",")[0])
        if known is None or known[0] != cell.spacing or cell.steps not in STEPS:
            return None
        return known[1][cell.row][STEPS.index(cell.steps)]
