"""Quality against effort: chosen rows of `fromnoise table steps` and `fromnoise table samplers`."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.evaluation import Table as Entries
    from fromnoise.app.studio.bench import Bench

MOST, MOST_COLUMNS, MOST_ROWS, MOST_STEPS = 5_000, 12, 4, 1000
KINDS = ("steps", "samplers")


@register("table")
@dataclass(frozen=True)
class Table(Work):
    """A table of Frechet distances, each of n samples.

    Attributes:
        kind: "steps" (DDIM's eta and sigma-hat) or "samplers" (each with its own defaults).
        rows: rows of that table, named as the command names them.
        columns: numbers of steps or of network calls.
    """

    run: str
    kind: str = "steps"
    rows: list[str] = field(default_factory=lambda: ["eta 0.0", "eta 1.0"])
    columns: list[int] = field(default_factory=lambda: [5, 10, 20, 50])
    n: int = 200

    models: ClassVar[tuple[str, ...]] = ("run",)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise FromNoiseError(f"kind: must be one of {', '.join(KINDS)}, got {self.kind[:40]!r}")
        if not 2 <= self.n <= MOST:
            raise FromNoiseError(f"n: must be from 2 to {MOST:,} samples of each entry, got {self.n:,}")
        if not 1 <= len(self.columns) <= MOST_COLUMNS:
            raise FromNoiseError(f"columns: must be from 1 to {MOST_COLUMNS} numbers, got {len(self.columns)}")
        for column in self.columns:
            if not 1 <= column <= MOST_STEPS:
                raise FromNoiseError(f"columns: each must be from 1 to {MOST_STEPS:,}, got {column}")
        if not 1 <= len(self.rows) <= MOST_ROWS:
            raise FromNoiseError(f"rows: must be from 1 to {MOST_ROWS}, got {len(self.rows)}")

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        from fromnoise.app.cli.evaluating import Bench as Evaluation
        from fromnoise.app.cli.evaluating import Subject
        from fromnoise.app.evaluation.report import warnings
        from fromnoise.app.studio.again import shown
        from fromnoise.app.studio.frames import finite
        from fromnoise.app.studio.works import _measuring

        place = Path(shown(places["run"]))
        send({"kind": "start", "command": self.command(place)})
        opening = _measuring.Stepping(send, "opening the model, its data and the features")
        with Evaluation.opened(Subject(place, None, None, None, None, None, True, "auto")) as own:
            if own.model.before is not None:
                raise FromNoiseError("a table needs a single model, and this is a cascade: measure it without a table")
            opening.advance()
            looking = _measuring.Stepping(send, f"{own.name} features of the data")
            own.extractor = _measuring.Heard(own.extractor, looking.advance)
            entries = self._entries(own)
            said = warnings(self.n, own.extractor, len(own.images))
            head: dict[str, Any] = {"figure": entries.figure(self.n), "effort": entries.effort, "warnings": said}
            for number, cells in enumerate(self._run(entries, own.processes, send), 1):
                head["cells"] = [{"row": c.row, "column": c.column, "steps": c.choice.steps, "n": c.n, "value": c.value,
                                  "nfe": c.nfe, "seconds": c.seconds} for c in cells]  # fmt: skip
                head["csv"] = entries.as_csv(cells)
                send({"kind": "cell", "number": number, "of": len(entries.cells), **finite(head)})
            about = {"title": entries.title, "reference": entries.reference.about}
            send({"kind": "end", **finite(head | about)})

    def command(self, run: Path) -> str:
        """The command that computes these entries, and those of all other rows."""
        columns = [str(column) for column in sorted(set(self.columns))]
        words = ["fromnoise", "table", self.kind, str(run), "--n", str(self.n), "--n-long", str(self.n)]
        return " ".join(map(shlex.quote, [*words, "--columns", *columns, "--spacings", _SPACINGS[self.kind]]))

    def _entries(self, own: Any) -> "Entries":
        """Build the table with only the chosen rows.

        Raises:
            FromNoiseError: if the table has no such row, or this model does not support it.
        """
        from fromnoise.app import evaluation

        cls = {"steps": evaluation.StepsTable, "samplers": evaluation.SamplersTable}[self.kind]
        found = cls(own.model, own.reference(), own.name, own.extractor, own.folder, self.n, self.n,
                    sorted(set(self.columns)), [_SPACINGS[self.kind]])  # fmt: skip
        for row in self.rows:
            if row not in found.rows:
                there = ", ".join(found.rows[:20]) or "none, since this model's chain is shorter than every column"
                raise FromNoiseError(f"rows: no row {row[:40]!r} with these columns; there is {there}")
        found.cells = [cell for cell in found.cells if cell.row in self.rows]
        found.rows = [row for row in found.rows if row in self.rows]
        found.check()
        return found

    def _run(self, entries: "Entries", processes: Any, send: Send) -> Any:
        """Measure the entries in order; their samples are drawn first, with progress, so the job can be stopped."""
        from fromnoise.app.studio.works import _measuring

        runner = entries.run(_measuring.BATCH, processes)
        for cell in entries.cells:
            column = "" if cell.column is None else f", {cell.column:g} {entries.effort}"
            _measuring.sampled(entries.folder, entries.model, cell.choice, cell.n, 0, send, f"{cell.row}{column}")
            yield next(runner)


_SPACINGS = {"steps": "ddim", "samplers": "uniform"}
