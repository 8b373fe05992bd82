"""What guidance gains and costs: classifier-free and classifier guidance against the scale."""

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
    """Classifier-free and classifier guidance against the scale: agreement, recall and Frechet distance.

    A column is the same mixture of scores for both kinds, unconditional + scale (conditional - unconditional): scale
    0 is unconditional, 1 is Bayes' rule. Samples are drawn with the recipe's settings. Network calls count the model;
    the classifier adds one forward and one backward pass to each.

    Agreement is that of samples with the requested class, found by a classifier of clean images; or, with a judge,
    with the requested caption.

    Args:
        classifier: a classifier of noisy images, for the second row; default: no second row.
        texts: for text-conditional models, the prompts, used in turn.
        judge: for text-conditional models, the judge of captions.
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
        """Name of the figure that measures agreement with the requested class or caption."""
        return CAPTIONS if self.judge is not None else "class accuracy"

    def entries(self) -> Iterator[Cell]:
        if not self.model.denoiser.null_cond:
            raise FromNoiseError("the table of guidance needs a model that was trained with conditioning dropout "
                                 "(train.label_dropout, text.dropout)")  # fmt: skip
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
        """Samples of an entry: n in every column."""
        return self.n

    def draw(self, cells: Sequence[Cell], path: Path) -> None:
        figures.guidance_curves(cells, self.agreement, self.figure(self.n), path)

    def as_markdown(self, cells: Sequence[Cell]) -> str:
        """One table: agreement, precision, recall and distance, one line per scale and kind of guidance."""
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
