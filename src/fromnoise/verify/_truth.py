"""Known distributions and quadratures for the identities."""

import math

import numpy as np
import torch
from torch import Tensor

from fromnoise.denoise import Denoiser
from fromnoise.flow import angle, level_at, scale, velocity
from fromnoise.gaussian import Level, like
from fromnoise.oracle import GaussianMixture
from fromnoise.schedules.cosine import Cosine
from fromnoise.schedules.linear import Linear

LINEAR, COSINE = Linear(T=1000), Cosine(T=1000)
BETA = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
BAR = torch.cumprod(1 - BETA, 0)  # alpha_bar_t, t = 1..T, as the texts define it
SHORT = Linear(T=6, beta_start=0.05, beta_end=0.5)
GREYS = torch.tensor([0, 36, 73, 109, 146, 182, 219, 255], dtype=torch.float64) / 127.5 - 1
GRID = torch.linspace(-14, 14, 28_001, dtype=torch.float64)
POINTS = torch.tensor([-2.1, -0.4, 0.0, 0.7, 1.9], dtype=torch.float64)


def line() -> GaussianMixture:
    """A mixture of three unequal components in one dimension."""
    variances = torch.tensor([0.05, 0.1, 0.02]).view(3, 1, 1)
    return GaussianMixture(torch.tensor([0.3, 0.5, 0.2]), torch.tensor([[-1.2], [0.4], [1.1]]), variances)


def plane() -> GaussianMixture:
    """A mixture of three components in the plane with full, rotated covariances."""
    covariances = [[[0.2, 0.1], [0.1, 0.15]], [[0.1, -0.06], [-0.06, 0.08]], [[0.3, 0.0], [0.0, 0.02]]]
    means = torch.tensor([[-1.0, 0.5], [0.6, 0.8], [0.2, -1.1]])
    return GaussianMixture(torch.tensor([0.2, 0.5, 0.3]), means, torch.tensor(covariances))


def normal(variance: float) -> GaussianMixture:
    """N(0, variance) in one dimension."""
    return GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.full((1, 1, 1), variance, dtype=torch.float64))


def hermite(n: int = 40) -> tuple[Tensor, Tensor]:
    """Nodes and weights with E f(z) = sum w f(node), z standard normal; exact for polynomials below degree 2n."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return torch.from_numpy(nodes), torch.from_numpy(weights) / math.sqrt(2 * math.pi)


def integral(values: Tensor) -> Tensor:
    """The integral over GRID, the last axis, by the trapezoidal rule: exact to rounding if smooth and 0 at the ends."""
    return torch.trapezoid(values, GRID, dim=-1)


def log_normal(x: Tensor, mean: Tensor, var: Tensor | float) -> Tensor:
    """log N(x; mean, var), written out so that the library's own density does not check itself."""
    var = torch.as_tensor(var, dtype=torch.float64)
    return -((x - mean) ** 2 / var + torch.log(2 * math.pi * var)) / 2


def rows_of(schedule: Linear | Cosine, *times: float) -> Level:
    """The levels of these times, as a batch."""
    return schedule.level(torch.tensor(times, dtype=torch.float64))


class Slope(torch.nn.Module):
    """A network that is not an exact denoiser: F = 0.8 tanh(x)."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return 0.8 * torch.tanh(x)


class Straight(torch.nn.Module):
    """A linear network that is not an exact denoiser: F = 0.6 x - 0.2."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return 0.6 * x - 0.2


def followed(
    denoiser: Denoiser, x: Tensor, t: Level, s: Level, n: int = 120, divergence: bool = False
) -> tuple[Tensor, Tensor]:
    """(x_s, int div velocity dphi) by n classical Runge-Kutta steps; without `divergence` the integral is 0."""
    ends, h = (t, s), (angle(s) - angle(t)) / n

    def slope(phi: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(divergence):
            u = u.detach().requires_grad_(divergence)
            level = level_at(denoiser, phi, ends)
            speed = velocity(denoiser(like(scale(level), u) * u, level), phi)
            if not divergence:
                return speed, torch.zeros(len(u), dtype=u.dtype)
            parts = [torch.autograd.grad(speed[:, i].sum(), u, retain_graph=True)[0][:, i] for i in range(u.shape[1])]
        return speed.detach(), torch.stack(parts).sum(0)

    u, volume = x / like(scale(t), x), torch.zeros(len(x), dtype=x.dtype)
    for i in range(n):
        phi = angle(t) + i * h
        k1 = slope(phi, u)
        k2 = slope(phi + h / 2, u + h / 2 * k1[0])
        k3 = slope(phi + h / 2, u + h / 2 * k2[0])
        k4 = slope(phi + h, u + h * k3[0])
        u, volume = (
            y + h / 6 * (a + 2 * b + 2 * c + d) for y, a, b, c, d in zip((u, volume), k1, k2, k3, k4, strict=True)
        )
    return like(scale(s), u) * u, volume


def cdf(truth: GaussianMixture, x: Tensor, level: Level) -> Tensor:
    """F_t(x) = sum_k w_k Phi((x - alpha m_k) / sqrt(alpha^2 v_k + sigma^2)) of a 1-d mixture: [N, 1] -> [N]."""
    spread = (level.alpha**2 * truth.covariances[:, 0, 0] + level.sigma**2).sqrt()
    return (truth.log_weights.exp() * torch.special.ndtr((x - level.alpha * truth.means[:, 0]) / spread)).sum(1)
