"""The inception score: classes that are sure for each sample and varied over all."""

from dataclasses import dataclass

from torch import Tensor

from fromnoise.metrics._splits import Splits
from fromnoise.metrics.base import Metric
from fromnoise.metrics.figures import Summary
from fromnoise.registry import register


@register("inception-score")
@dataclass(frozen=True)
class InceptionScore(Metric):
    """IS = exp(E_x KL(p(y | x) | p(y))) over 10 random parts: mean and deviation. It never looks at the reference.

    Source: Salimans et al. 2016; the IS column of Shorts' table.
    """

    def __call__(self, samples: Summary, reference: Summary) -> dict[str, float]:
        if samples.splits is None:
            return {}
        scores = samples.splits.scores()
        return {"IS": scores.mean().item(), "IS deviation": scores.std(correction=0).item()}


def score(probabilities: Tensor, splits: int = 10) -> tuple[Tensor, Tensor]:
    """exp(E_x KL(p(y | x) | p(y))), between 1 and the number of classes: mean and deviation over `splits` parts.

    IS is this with Inception's 1,000 classes (Salimans et al. 2016). Source: the IS column of Shorts' table.

    Args:
        probabilities: p(y | x) of each sample, [N, K], rows that add up to 1.
        splits: parts, dealt at random, that are scored one by one, as published figures are; at most N.

    Raises:
        ValueError: fewer samples than parts.
    """
    if len(probabilities) < splits:
        raise ValueError(f"{splits} splits need as many samples, got {len(probabilities)}")
    sums = Splits(len(probabilities), probabilities.shape[1], splits)
    sums.add(0, probabilities)
    every = sums.scores()
    return every.mean(), every.std(correction=0)
