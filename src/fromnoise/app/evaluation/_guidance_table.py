"""What guidance buys and costs: both kinds against the scale."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from fromnoise.app.evaluation._table import Cell, Table
from fromnoise.errors import FromNoiseError
from fromnoise.guidance import NoisyClassifier, Steering


@dataclass
class GuidanceTable(Table):
    """Classifier-free and classifier guidance against the scale: class accuracy, recall, Frechet distance.

    One model with and without its labels: a column is the same mixture of scores for both kinds, plain + scale
    (given the class - plain), from 0, no class, over 1, Bayes' rule, upwards. Sampled as the recipe says. Network calls
    are those of the model; a classifier is called forwards and backwards once beside each.

    Args:
        classifier: of noisy images, for the second row; one row without.
    """

    usual_columns: ClassVar[Sequence[float]] = (0, 1, 2, 3, 5)
    usual_spacings: ClassVar[Sequence[str]] = ()
    effort: ClassVar[str] = "scale"
    metrics: ClassVar[Sequence[str]] = ("frechet", "precision-recall", "class-accuracy")
    title: ClassVar[str] = "the scale of guidance"

    classifier: NoisyClassifier | None = None

    def entries(self) -> Iterator[Cell]:
        if self.model.denoiser.null_label is None:
            raise FromNoiseError("the table of guidance needs a model that was trained with some labels hidden "
                                 "(train.label_dropout)")  # fmt: skip
        usual = self.model.choice()
        self.spacings = (usual.spacing,)
        for scale in self.columns:
            free = replace(usual.steering, scale=scale)
            yield Cell(usual.spacing, "classifier-free", scale, self.n, replace(usual, steering=free))
            if self.classifier is not None:
                steering = Steering(0.0, free.clip, classifier=self.classifier, classifier_scale=scale)
                yield Cell(usual.spacing, "classifier", scale, self.n, replace(usual, steering=steering))

    def size(self, column: float) -> int:
        """The same for every entry."""
        return self.n

    def as_markdown(self, cells: Sequence[Cell]) -> str:
        """One table: accuracy, precision, recall and distance, a line for each scale and kind."""
        real = f"{self.reference.about['n']:,} reference images of {self.reference.about['data']}"
        lines = [f"n = {self.n} samples of each entry, {real}.", ""]
        lines += [f"| guidance | scale | class accuracy | precision | recall | {self.figure(self.n)} | network calls |"]
        lines += ["|---|--:|--:|--:|--:|--:|--:|"]
        for row in self.rows:
            for c in (c for c in cells if c.row == row):
                found = [c.more.get(k, float("nan")) for k in ("class accuracy", "precision", "recall")]
                shown = " | ".join(f"{v:.3f}" for v in found)
                lines.append(f"| {row} | {c.column:g} | {shown} | {c.value or 0:.2f} | {c.nfe or 0:g} |")
        return "\n".join(lines) + "\n"
