"""Class accuracy: whether samples are of the class that was asked for."""

from dataclasses import dataclass

from fromnoise.metrics.base import Metric
from fromnoise.metrics.figures import Summary
from fromnoise.registry import register


@register("class-accuracy")
@dataclass(frozen=True)
class ClassAccuracy(Metric):
    """Share of samples x, asked for as class y, with argmax p(. | x) = y by the extractor's own classifier.

    In [0, 1]; only for models whose classes are those of the extractor. It never looks at the reference, and says
    nothing of variety: guidance raises it and lowers the recall. Source: the classification accuracy of Ravuri and
    Vinyals 2019, the other way round: a classifier of real images, asked about samples.
    """

    def __call__(self, samples: Summary, reference: Summary) -> dict[str, float]:
        return {"class accuracy": samples.right / samples.labelled} if samples.labelled else {}
