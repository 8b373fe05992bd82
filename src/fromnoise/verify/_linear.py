"""Gaussian data and linear students of it, whose slopes are known at every level."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fromnoise import distill
from fromnoise.denoise import Cond, Denoiser
from fromnoise.distill.levels import above
from fromnoise.gaussian import Level, like
from fromnoise.oracle import GaussianMixture
from fromnoise.parameterizations import students
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.parameterizations.x0 import X0
from fromnoise.schedules.base import Chain, Schedule
from fromnoise.schedules.edm import EDM
from fromnoise.schedules.rectified import Rectified
from fromnoise.schedules.vp import VP
from fromnoise.verify._truth import COSINE, LINEAR, POINTS, hermite

M, S = 0.3, 0.5
SCHEDULES: tuple[Schedule, ...] = (LINEAR, COSINE, VP(), EDM(), Rectified())
Slopes = Callable[[Level], Tensor]
"""Level -> d x0hat / d x of a linear student: [B]."""


def gaussian() -> GaussianMixture:
    """N(M, S^2) in one dimension."""
    mean, cov = torch.tensor([[M]], dtype=torch.float64), torch.tensor([[[S * S]]], dtype=torch.float64)
    return GaussianMixture(torch.ones(1), mean, cov)


def variance(t: Level) -> Tensor:
    return (t.alpha * S) ** 2 + t.sigma**2


def posterior(t: Level) -> Tensor:
    """k = alpha s^2 / var_t, the slope of E[x_0 | x_t]."""
    return t.alpha * S**2 / variance(t)


def ddim(t: Level, s: Level, k: Tensor) -> Tensor:
    """The factor A in x_s - alpha_s m = A (x_t - alpha_t m), for a DDIM step with an x0hat of slope k."""
    return s.alpha * k + s.sigma * (1 - t.alpha * k) / t.sigma


def down(grid: Chain, factor: Callable[[Level, Level], Tensor]) -> Tensor:
    """Products of the steps' factors from each level of a grid to its clean end: [n + 1]."""
    factors = factor(grid.levels[:-1], grid.levels[1:])
    return torch.cat([factors.flip(0).cumprod(0).flip(0), torch.ones(1, dtype=torch.float64)])


def on(grid: Chain, values: Tensor) -> Slopes:
    """Slopes of a student that are known only at the levels of a grid."""
    return lambda t: values[above(t, grid)] if t.alpha.dim() else values[above(t.expand(1), grid)][0]


def some(schedule: Schedule) -> Level:
    """Three levels: noisy, medium and clean."""
    return schedule.at(torch.tensor([-4.0, 0.0, 4.0], dtype=torch.float64))


def states(t: Level) -> Tensor:
    """One state for each level, away from the mean."""
    return (t.alpha * M + torch.sqrt(variance(t)) * POINTS[: len(t.alpha)])[:, None]


class Linear(Denoiser):
    """x0hat = m + k (x - alpha m), where k = slope(level) + shift; `shift` is the parameter to differentiate by."""

    state_dtype = torch.float64

    def __init__(self, schedule: Schedule, slope: Slopes, shift: Tensor | None = None, student: str | None = None):
        super().__init__(nn.Identity(), schedule, "x0", shape=(1,))
        self.slope, self.shift = slope, torch.zeros((), dtype=torch.float64) if shift is None else shift
        self.student = students.build(student) if student else None

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        k = like(self.slope(t) + self.shift, x_t)
        return Prediction(x_t, t, M + k * (x_t - like(t.alpha, x_t) * M), X0(), self.schedule)


def gradient(way: distill.Distillation, made: Callable[[Tensor], Denoiser], t: Level, u: list[float]) -> Tensor:
    """The gradient of the exact mean loss at one level with respect to the student's shift, at shift 0."""
    z, w = hermite(6)  # for x_t and for the noise independent of it: losses are quadratic, or even in the second
    along, across = (part.reshape(-1, 1) for part in torch.meshgrid(z, z, indexing="ij"))
    signal, noise = t.alpha * S / torch.sqrt(variance(t)), t.sigma / torch.sqrt(variance(t))
    x0, eps = M + S * (signal * along - noise * across), noise * along + signal * across
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    more = torch.tensor(u, dtype=torch.float64).expand(len(x0), -1)
    loss = way(made(shift), x0, t.expand(len(x0)), eps, u=more)["loss"]
    return torch.autograd.grad(((w[:, None] * w).flatten() * loss).sum(), shift)[0]


def fixed(way: distill.Distillation, schedule: Schedule, slopes: Slopes, levels: Level) -> Tensor:
    """The gradients of a loss at each of these levels."""
    return torch.stack([gradient(way, lambda shift: Linear(schedule, slopes, shift), t, []) for t in each(levels)])


def each(levels: Level) -> list[Level]:
    return [levels[i] for i in range(len(levels.alpha))]
