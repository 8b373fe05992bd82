"""The Frechet distance of two Gaussians: FID and sFID with Inception's features."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fromnoise.metrics._statistics import Statistics
from fromnoise.metrics.base import Metric
from fromnoise.metrics.figures import Summary
from fromnoise.registry import register


@register("frechet")
@dataclass(frozen=True)
class Frechet(Metric):
    """FD = |m - n|^2 + tr(S + R - 2 (S R)^(1/2)) of the features' means m, n and covariances S, R.

    sFD is the same for the features of an earlier, spatial map.

    Source: Heusel et al. 2017 (FID); Nash et al. 2021 (sFID).
    """

    def __call__(self, samples: Summary, reference: Summary) -> dict[str, float]:
        pairs = {"FD": (samples.pool, reference.pool), "sFD": (samples.spatial, reference.spatial)}
        return {name: _between(*pair).item() for name, pair in pairs.items() if None not in pair}


def _between(one: Statistics | None, other: Statistics | None) -> Tensor:
    assert one is not None
    assert other is not None
    return distance(one.mean, one.covariance, other.mean, other.covariance)


def distance(mean: Tensor, cov: Tensor, other_mean: Tensor, other_cov: Tensor) -> Tensor:
    """|m - n|^2 + tr(S + R - 2 (S R)^(1/2)), the squared Wasserstein-2 distance: a scalar, float64.

    For the 2,048 Inception features of samples and data this is FID (Heusel et al. 2017); for other features it must
    not be called FID. tr (S R)^(1/2) is computed as the sum of the singular values of S^(1/2) R^(1/2), which rounding
    cannot make complex and which is exact for singular matrices too, as with fewer samples than dimensions. Source: the
    FID columns of Shorts' table.

    Args:
        mean, other_mean: [D].
        cov, other_cov: [D, D], symmetric, positive semi-definite.
    """
    mean, cov, other_mean, other_cov = (v.double() for v in (mean, cov, other_mean, other_cov))
    inner = torch.linalg.svdvals(_root(cov) @ _root(other_cov)).sum()
    return (mean - other_mean).square().sum() + cov.trace() + other_cov.trace() - 2 * inner


def _root(cov: Tensor) -> Tensor:
    """S^(1/2), with eigenvalues of the size of rounding errors set to 0: their roots would be about 1e-8."""
    values, vectors = torch.linalg.eigh(cov)
    values = torch.where(values < 1e-14 * len(values) * values.max(), 0.0, values)
    return vectors * values.sqrt() @ vectors.T
