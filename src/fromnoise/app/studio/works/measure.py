"""The figures of a run, computed and written as `fromnoise eval` does."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fromnoise.app.studio.works.base import Places, Send, Work
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.studio.bench import Bench

MOST = 50_000


@register("measure")
@dataclass(frozen=True)
class Measure(Work):
    """Compares n samples with the data and writes eval.json into the run; default n: from the recipe."""

    run: str
    n: int | None = None

    models: ClassVar[tuple[str, ...]] = ("run",)

    def __post_init__(self) -> None:
        if self.n is not None and not 2 <= self.n <= MOST:
            raise FromNoiseError(f"n: must be from 2 to {MOST:,} samples, got {self.n:,}")

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        from fromnoise.app.cli.evaluating import Bench as Evaluation
        from fromnoise.app.cli.evaluating import Subject
        from fromnoise.app.evaluation.report import warnings
        from fromnoise.app.studio.again import shown
        from fromnoise.app.studio.frames import finite
        from fromnoise.app.studio.works import _measuring
        from fromnoise.system.disk import files

        place = Path(shown(places["run"]))
        words = ["fromnoise", "eval", str(place), *(["--n", str(self.n)] if self.n is not None else [])]
        send({"kind": "start", "command": " ".join(map(shlex.quote, words))})
        opening = _measuring.Stepping(send, "opening the model, its data and the features")
        with Evaluation.opened(Subject(place, None, None, None, None, None, True, "auto")) as table:
            out = place / "eval.json"
            files.insist_on_writable(out)
            plan = table.worded(table.model.choice())
            n = table.usual.n if self.n is None else self.n
            opening.advance()
            _measuring.sampled(table.folder, table.model, plan, n, 0, send, "drawing")
            looking = _measuring.Stepping(send, f"{table.name} features")
            table.extractor = _measuring.Heard(table.extractor, looking.advance)
            found = table.drawn(plan, n, range(1), None, _measuring.BATCH, None, out.with_name("nearest.png"))
            files.write_json(out, found)
            parts = _measuring.Parts(table.folder, table.model, plan, 0, n)
            pixels = next(parts.read(range(1)))
            said = warnings(n, table.extractor, len(table.images))
        send({"kind": "end", "report": finite(found), "warnings": said},
             {"x": pixels[: _measuring.SHOWN].numpy()})  # fmt: skip
