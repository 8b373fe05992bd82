"""Precision and recall by nearest neighbours, and their robust variants density and coverage."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fromnoise.metrics.base import Metric
from fromnoise.metrics.figures import Summary
from fromnoise.registry import register

_ROWS = 1000


@register("precision-recall")
@dataclass(frozen=True)
class PrecisionRecall(Metric):
    """Precision, recall, density and coverage, from a ball around each image up to its k-th neighbour in its own set.

    precision: share of samples that lie in the ball of some real image; recall: share of real images that lie in the
    ball of some sample (Kynkaanniemi et al. 2019). density: mean number of real balls that a sample lies in, divided by
    k; coverage: share of real images whose ball contains a sample (Naeem et al. 2020). The larger set is cut to the
    size of the smaller.

    Args:
        k: the neighbour for precision and recall.
        robust_k: the neighbour for density and coverage.
    """

    k: int = 3
    robust_k: int = 5

    def __call__(self, samples: Summary, reference: Summary) -> dict[str, float]:
        n = min(len(samples.kept), len(reference.kept))  # few samples cannot cover many images
        return neighbours(samples.kept[:n], reference.kept[:n], self.k, self.robust_k)


def neighbours(samples: Tensor, real: Tensor, k: int = 3, robust_k: int = 5) -> dict[str, float]:
    """precision, recall, density and coverage of feature vectors [N, D] and [M, D]; empty for sets of k or fewer."""
    if min(len(samples), len(real)) <= max(k, robust_k):
        return {}
    samples, real = samples.double(), real.double()
    own = _radii(samples, (k,))[0]
    ball, robust = _radii(real, (k, robust_k))
    inside, holds, density = [], torch.zeros(len(real), dtype=torch.bool), 0.0
    nearest = torch.full((len(real),), torch.inf, dtype=torch.float64)
    for start in range(0, len(samples), _ROWS):
        part = slice(start, start + _ROWS)
        d = torch.cdist(samples[part], real)
        inside.append((d <= ball).any(1))
        holds |= (d <= own[part, None]).any(0)
        density += (d < robust).double().sum().item()
        nearest = torch.minimum(nearest, d.min(0).values)

    return {
        "precision": torch.cat(inside).double().mean().item(),
        "recall": holds.double().mean().item(),
        "density": density / (robust_k * len(samples)),
        "coverage": (nearest < robust).double().mean().item(),
    }


def _radii(x: Tensor, ks: tuple[int, ...]) -> list[Tensor]:
    """For each k, the distance of every point to its k-th neighbour, not counting itself."""
    found: list[list[Tensor]] = [[] for _ in ks]
    for part in x.split(_ROWS):
        d = torch.cdist(part, x)
        for values, k in zip(found, ks, strict=True):
            values.append(d.kthvalue(k + 1, dim=1).values)
    return [torch.cat(values) for values in found]
