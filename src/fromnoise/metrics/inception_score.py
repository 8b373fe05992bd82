"""The inception score: high if each sample has a clear class and the classes are varied."""

from dataclasses import dataclass

from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.metrics._splits import Splits
from fromnoise.metrics.base import Metric
from fromnoise.metrics.figures import Summary
from fromnoise.registry import register


@register("inception-score")
@dataclass(frozen=True)
class InceptionScore(Metric):
    """IS = exp(E_x KL(p(y | x) | p(y))): mean and standard deviation over 10 random splits.

    It does not use the reference.

    Source: Salimans et al. 2016; the IS column of Shorts' table.
    """

    def __call__(self, samples: Summary, reference: Summary) -> dict[str, float]:
        if samples.splits is None:
            return {}
        scores = samples.splits.scores()
        return {"IS": scores.mean().item(), "IS deviation": scores.std(correction=0).item()}


def score(probabilities: Tensor, splits: int = 10) -> tuple[Tensor, Tensor]:
    """exp(E_x KL(p(y | x) | p(y))), from 1 to the number of classes: mean and standard deviation over `splits` parts.

    With Inception's 1,000 classes this is IS (Salimans et al. 2016). Source: the IS column of Shorts' table.

    Args:
        probabilities: p(y | x) of each sample, [N, K], whose rows sum to 1.
        splits: number of random parts with a score each, as in published figures; at most N.

    Raises:
        FromNoiseError: there are fewer samples than splits.
    """
    if len(probabilities) < splits:
        raise FromNoiseError(f"{splits} splits need as many samples, got {len(probabilities)}")
    sums = Splits(len(probabilities), probabilities.shape[1], splits)
    sums.add(0, probabilities)
    every = sums.scores()
    return every.mean(), every.std(correction=0)
