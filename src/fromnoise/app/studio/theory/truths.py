"""Exact distributions and numerical helpers shared by the figures."""

from typing import TYPE_CHECKING

import fromnoise as fn

if TYPE_CHECKING:
    from torch import Tensor

    from fromnoise.gaussian import Level
    from fromnoise.oracle import GaussianMixture

DATA = ("two peaks", "one Gaussian")


def data(name: str, std: float = 0.5) -> "GaussianMixture":
    """One of DATA, in one dimension; the Gaussian is N(0, std^2)."""
    return two_peaks() if name == "two peaks" else gaussian(std)


def two_peaks() -> "GaussianMixture":
    """0.35 N(-1.2, 0.3^2) + 0.65 N(1, 0.4^2)."""
    return mixture([0.35, 0.65], [-1.2, 1.0], [0.3, 0.4])


def gaussian(std: float, mean: float = 0.0) -> "GaussianMixture":
    """N(mean, std^2) in one dimension."""
    return mixture([1.0], [mean], [std])


def mixture(weights: list[float], means: list[float], stds: list[float]) -> "GaussianMixture":
    """A Gaussian mixture in one dimension."""
    import torch

    like = {"dtype": torch.float64}
    variances = torch.tensor(stds, **like).square().view(-1, 1, 1)
    return fn.oracle.GaussianMixture(torch.tensor(weights, **like), torch.tensor(means, **like)[:, None], variances)


def schedule(name: str) -> "fn.schedules.Schedule":
    """A schedule with 1000 steps."""
    return fn.schedules.build({"name": name, "T": 1000})


def line(low: float, high: float, n: int = 241) -> "Tensor":
    """An evenly spaced grid, float64."""
    import torch

    return torch.linspace(low, high, n, dtype=torch.float64)


def density(truth: "GaussianMixture", x: "Tensor", t: "Level") -> "Tensor":
    """q(x_t) on a grid [N]."""
    return truth.log_prob(x[:, None], t).exp()


def histogram(samples: "Tensor", low: float, high: float, bins: int = 48) -> tuple["Tensor", "Tensor"]:
    """(bin centres, density) of samples of any shape; samples out of range count in the total, but in no bin."""
    import torch

    edges = torch.linspace(low, high, bins + 1, dtype=torch.float64)
    counts = torch.histc(samples.double().flatten(), bins, low, high)
    return (edges[1:] + edges[:-1]) / 2, counts / (samples.numel() * (edges[1] - edges[0]))


def normals(n: int, seed: int = 0) -> "Tensor":
    """Standard normal numbers [n, 1], the same at every call."""
    import torch

    return torch.randn(n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def quantiles(truth: "GaussianMixture", t: "Level", shares: "Tensor", reach: float = 12.0) -> "Tensor":
    """F_t^-1 of shares in (0, 1), by integrating the exact density on a fine grid; the 1-D flow preserves these."""
    import torch

    wide = reach * max(1.0, float(torch.hypot(t.alpha, t.sigma)))
    x = torch.linspace(-wide, wide, 6001, dtype=torch.float64)
    mass = torch.cumulative_trapezoid(density(truth, x, t), x)
    mass = torch.cat([torch.zeros(1, dtype=torch.float64), mass / mass[-1]])
    return interpolated(shares, mass, x)


def shares(truth: "GaussianMixture", t: "Level", x: "Tensor", reach: float = 12.0) -> "Tensor":
    """F_t(x), by integrating the exact density on a fine grid."""
    import torch

    wide = reach * max(1.0, float(torch.hypot(t.alpha, t.sigma)))
    grid = torch.linspace(-wide, wide, 6001, dtype=torch.float64)
    mass = torch.cumulative_trapezoid(density(truth, grid, t), grid)
    mass = torch.cat([torch.zeros(1, dtype=torch.float64), mass / mass[-1]])
    return interpolated(x, grid, mass)


def interpolated(at: "Tensor", x: "Tensor", y: "Tensor") -> "Tensor":
    """Interpolate y linearly at the points `at`; x is increasing."""
    import torch

    above = torch.searchsorted(x, at.contiguous()).clamp(1, len(x) - 1)
    low, high = x[above - 1], x[above]
    share = ((at - low) / (high - low).clamp_min(1e-300)).clamp(0, 1)
    return y[above - 1] + share * (y[above] - y[above - 1])


def nodes(n: int) -> tuple["Tensor", "Tensor"]:
    """Gauss-Hermite quadrature: E f(z) = sum w f(node), exact for polynomials of degree below 2n."""
    import numpy as np
    import torch

    at, weight = np.polynomial.hermite_e.hermegauss(n)
    return torch.from_numpy(at), torch.from_numpy(weight / weight.sum())
