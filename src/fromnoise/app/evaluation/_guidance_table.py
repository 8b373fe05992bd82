"""What guidance buys and costs: both kinds against the scale."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from fromnoise.app import figures
from fromnoise.app.evaluation._agreement import AMONG, CAPTIONS, Judge
from fromnoise.app.evaluation._table import Cell, Table
from fromnoise.app.evaluation.parts import Parts
from fromnoise.errors import FromNoiseError
from fromnoise.guidance import NoisyClassifier, Steering


@dataclass
class GuidanceTable(Table):
    """Classifier-free and classifier guidance against the scale: agreement with what was asked for, recall, distance.

    One model with and without its labels: a column is the same mixture of scores for both kinds, plain + scale
    (given the class - plain), from 0, no class, over 1, Bayes' rule, upwards. Sampled as the recipe says. Network calls
    are those of the model; a classifier is called forwards and backwards once beside each.

    What was asked for is a class, which a classifier of samples finds or not; or, with a judge, a caption.

    Args:
        classifier: of noisy images, for the second row; one row without.
        texts: of a text-conditional model: what samples are asked for, in turn.
        judge: of captions; none where the model reads no text.
    """

    usual_columns: ClassVar[Sequence[float]] = (0, 1, 2, 3, 5)
    usual_spacings: ClassVar[Sequence[str]] = ()
    effort: ClassVar[str] = "scale"
    metrics: ClassVar[Sequence[str]] = ("frechet", "precision-recall", "class-accuracy")
    title: ClassVar[str] = "the scale of guidance"

    classifier: NoisyClassifier | None = None
    texts: Sequence[str] = ()
    judge: Judge | None = None

    @property
    def agreement(self) -> str:
        """How well samples agree with what was asked for, by its name."""
        return CAPTIONS if self.judge is not None else "class accuracy"

    def entries(self) -> Iterator[Cell]:
        if not self.model.denoiser.null_cond:
            raise FromNoiseError("the table of guidance needs a model that was trained with some labels or texts "
                                 "hidden (train.label_dropout, text.dropout)")  # fmt: skip
        usual = replace(self.model.choice(), texts=tuple(self.texts))
        self.spacings = (usual.spacing,)
        for scale in self.columns:
            free = replace(usual.steering, scale=scale)
            yield Cell(usual.spacing, "classifier-free", scale, self.n, replace(usual, steering=free))
            if self.classifier is not None:
                steering = Steering(0.0, free.clip, classifier=self.classifier, classifier_scale=scale)
                yield Cell(usual.spacing, "classifier", scale, self.n, replace(usual, steering=steering))

    def found(self, cell: Cell) -> dict[str, float]:
        if self.judge is None:
            return {}
        parts = Parts(self.folder, self.model, cell.choice, 0, cell.n)
        pixels = torch.cat(list(parts.read(range(len(parts)))))
        return {CAPTIONS: self.judge.share(pixels, [self.texts[i % len(self.texts)] for i in range(len(pixels))])}

    def size(self, column: float) -> int:
        """The same for every entry."""
        return self.n

    def draw(self, cells: Sequence[Cell], path: Path) -> None:
        figures.guidance_curves(cells, self.agreement, self.figure(self.n), path)

    def as_markdown(self, cells: Sequence[Cell]) -> str:
        """One table: accuracy, precision, recall and distance, a line for each scale and kind."""
        real = f"{self.reference.about['n']:,} reference images of {self.reference.about['data']}"
        lines = [f"n = {self.n} samples of each entry, {real}.", ""]
        if self.judge is not None:
            known = ", ".join(f"{100 * value:.0f} % {name}" for name, value in self.judge.figures().items())
            lines[0] += f" Captions that the judge finds among {AMONG}: {known}."
        head = ("guidance", "scale", self.agreement, "precision", "recall", self.figure(self.n), "network calls")
        lines += [f"| {' | '.join(head)} |"]
        lines += ["|---|--:|--:|--:|--:|--:|--:|"]
        for row in self.rows:
            for c in (c for c in cells if c.row == row):
                found = [c.more.get(k, float("nan")) for k in (self.agreement, "precision", "recall")]
                shown = " | ".join(f"{v:.3f}" for v in found)
                lines.append(f"| {row} | {c.column:g} | {shown} | {c.value or 0:.2f} | {c.nfe or 0:g} |")
        return "\n".join(lines) + "\n"
