"""Class accuracy: the share of samples that belong to the requested class."""

from dataclasses import dataclass

from fromnoise.metrics.base import Metric
from fromnoise.metrics.figures import Summary
from fromnoise.registry import register


@register("class-accuracy")
@dataclass(frozen=True)
class ClassAccuracy(Metric):
    """Share of samples x of requested class y with argmax p(. | x) = y, by the extractor's own classifier.

    In [0, 1]; only for models with the same classes as the extractor. It does not use the reference and does not
    measure variety: guidance raises it while lowering the recall. Source: the classification accuracy score of Ravuri
    and Vinyals 2019 reversed, with a classifier of real images applied to samples.
    """

    def __call__(self, samples: Summary, reference: Summary) -> dict[str, float]:
        return {"class accuracy": samples.right / samples.labelled} if samples.labelled else {}
