"""The base of all tables: figures of one model under many sampling plans, side by side."""

import csv
import io
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from fromnoise.app import figures
from fromnoise.app.evaluation._evaluate import evaluate
from fromnoise.app.evaluation._reference import Reference
from fromnoise.app.evaluation.parts import Parts
from fromnoise.app.evaluation.report import short
from fromnoise.app.runs import Model, SamplingPlan
from fromnoise.metrics.features.base import Extractor
from fromnoise.train.distributed import Processes

LONG = 1000
"""From this column on, entries have fewer samples."""


@dataclass(frozen=True)
class Cell:
    """One entry of a table: its position, its sampling plan and, once measured, its figures.

    Attributes:
        spacing: the spacing, which has a table of its own.
        row, column: position in the table. A column of None becomes, after measuring, the first column that covers
            the counted network calls, or infinity.
        n: number of samples.
        choice: how they are drawn.
        value: the Frechet distance.
        nfe, seconds: network calls per sample; seconds of sampling in total.
        more: other figures, by name.
    """

    spacing: str
    row: str
    column: float | None
    n: int
    choice: SamplingPlan
    value: float | None = None
    nfe: float | None = None
    seconds: float | None = None
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Table(ABC):
    """A table of rows against columns of effort; subclasses define the entries.

    The cheapest columns come first, so a table that is stopped early is still useful. Samples stay on disk, so running
    it again resumes it.

    Args:
        model, reference, name, extractor, folder: see `evaluate`.
        n: number of samples of each entry.
        n_long: number of samples of entries in columns from 1000 on.
        columns: the columns; default: `usual_columns`.
        spacings: one table per spacing; default: `usual_spacings`.
    """

    usual_columns: ClassVar[Sequence[float]]
    usual_spacings: ClassVar[Sequence[str]]
    effort: ClassVar[str]
    """What the columns count, as an axis label."""
    metrics: ClassVar[Sequence[str]] = ("frechet",)
    title: ClassVar[str]
    """What the table shows and how it was sampled, without the name of the figure and the reference."""

    model: Model
    reference: Reference
    name: str
    extractor: Extractor
    folder: Path
    n: int
    n_long: int
    columns: Sequence[float] = ()
    spacings: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.columns = sorted(self.columns or self.usual_columns)
        self.spacings = self.spacings or self.usual_spacings
        self.cells = list(self.entries())
        self.rows = list(dict.fromkeys(c.row for c in self.cells))

    @abstractmethod
    def entries(self) -> Iterator[Cell]:
        """Yield the entries to be measured, the cheapest first."""

    def paper(self, cell: Cell) -> float | None:
        """The published figure of an entry, if there is one for the same data."""
        return None

    def found(self, cell: Cell) -> dict[str, float]:
        """Further figures of an entry's samples, beside the feature metrics."""
        return {}

    def size(self, column: float) -> int:
        """Number of samples of an entry in that column."""
        return self.n if column < LONG else self.n_long

    def check(self) -> None:
        """Check that every entry can be sampled, before the first one is.

        Raises:
            FromNoiseError: if a sampler does not support this model.
        """
        for cell in self.cells:
            cell.choice.sampler.check(self.model.denoiser)

    def cost(self, batch_size: int) -> float:
        """Total of `advance` for a run that starts with nothing on disk."""
        return sum(self._cost(c, batch_size) for c in self.cells)

    def _cost(self, cell: Cell, batch_size: int) -> float:
        steps = self.model.steps(cell.choice)
        return cell.n / batch_size * (cell.choice.sampler.nfe(steps) or 50)

    def run(
        self, batch_size: int, processes: Processes, advance: Callable[[float], None] = lambda amount: None
    ) -> Iterator[list[Cell]]:
        """Measure the entries in order, and yield all finished entries after each one.

        `advance` is called with the share of `cost` just done. Several processes may work together, as in `evaluate`;
        each proceeds to the next entry while others are still drawing samples of the last.
        """
        done: list[Cell] = []
        drawn = self._drawn(batch_size)
        for cell in self.cells:
            while not Parts(self.folder, self.model, cell.choice, 0, cell.n).is_drawn() and next(drawn, None):
                pass
            done.append(self._measured(cell, batch_size, processes))
            advance(self._cost(cell, batch_size))
            yield done

    def _drawn(self, batch_size: int) -> Iterator[Cell]:
        """Yield each entry once all of its samples are drawn or being drawn."""
        for cell in self.cells:
            Parts(self.folder, self.model, cell.choice, 0, cell.n).draw(batch_size, wait=False)
            yield cell

    def _measured(self, cell: Cell, batch_size: int, processes: Processes) -> Cell:
        found = evaluate(
            self.model,
            cell.choice,
            self.reference,
            self.name,
            self.extractor,
            n=cell.n,
            folder=self.folder,
            metrics=self.metrics,
            batch_size=batch_size,
            processes=processes,
            quiet=True,
        )
        how = found["sampling"]
        column = cell.column
        if column is None:
            column = next((c for c in self.columns if how["nfe"] <= c), math.inf)
        more = {name: figure["value"] for name, figure in found["figures"].items()} | self.found(cell)
        return replace(cell, column=column, value=found["value"], nfe=how["nfe"], seconds=how["seconds"], more=more)

    def figure(self, n: int) -> str:
        """Name of the figure for n samples, e.g. FD-digits-1k."""
        return f"{self.extractor.title('FD')}-{short(n)}"

    def as_csv(self, cells: Sequence[Cell]) -> str:
        """CSV with one line per entry, and the paper's figure if it is for the same data."""
        out = io.StringIO()
        names = ("spacing", "row", "column", "steps", "n", "figure", "value", "nfe", "seconds", "paper")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        for c in cells:
            found = (c.n, self.figure(c.n), c.value, c.nfe, c.seconds, self.paper(c))
            writer.writerow((c.spacing, c.row, c.column, c.choice.steps, *found))
        return out.getvalue()

    def draw(self, cells: Sequence[Cell], path: Path) -> None:
        """Draw the curves of a finished table."""
        figures.table_curves(cells, self.effort, self.figure(self.n), path)

    def as_markdown(self, cells: Sequence[Cell]) -> str:
        """One table per spacing, with the paper's figure in brackets if it is for the same data."""
        found = {(c.spacing, c.row, c.column): c for c in cells}
        columns = [c for c in self.columns if any(cell.column in (c, None) for cell in self.cells)]
        heads = [f"{c}" if self.size(c) == self.n else f"{c} (n = {self.size(c)})" for c in columns]
        real = f"{self.reference.about['n']:,} reference images of {self.reference.about['data']}"
        lines = [f"{self.figure(self.n)} against {self.title}; {real}."]
        for spacing in self.spacings:
            rows = [r for r in self.rows if any((c.spacing, c.row) == (spacing, r) for c in self.cells)]
            lines += ["", f"| {spacing} | {' | '.join(heads)} |", "|---|" + "--:|" * len(heads)]
            for row in rows:
                entries = [self._entry(found.get((spacing, row, c))) for c in columns]
                lines.append(f"| {row} | {' | '.join(entries)} |")
        return "\n".join(lines) + "\n"

    def _entry(self, cell: Cell | None) -> str:
        if cell is None or cell.value is None:
            return ""
        paper = self.paper(cell)
        other = f" (n = {cell.n})" if cell.n != self.size(cell.column or 0) else ""
        return f"{cell.value:.2f}{other}" + (f" ({paper:.2f})" if paper else "")
