"""Pairs of levels and steps between them, for whole batches."""

from collections.abc import Callable

import torch
from torch import Tensor

from fromnoise.gaussian import Level, like
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.schedules.base import Chain, Schedule
from fromnoise.times.base import TimeSampling

_ROUNDING = 1e-9


def above(t: Level, chain: Chain) -> Tensor:
    """The index of the cleanest noisy level of the chain that is not cleaner than t: [B].

    If t is drawn from a density, a level is found with the probability of the interval from the next cleaner level to
    itself; for uniform times and an evenly spaced chain all levels are equally likely.
    """
    rising = chain.levels.log_snr
    wanted = t.log_snr + _ROUNDING * t.log_snr.abs().clamp(1, 1e3)
    return (torch.searchsorted(rising, wanted.contiguous(), right=True) - 1).clamp(0, chain.steps - 1)


class OnGrid(TimeSampling):
    """Every noisy level of a grid with the same probability, and weight 1.

    Args:
        grid: schedule -> the chain of the grid.
    """

    on_rows = False

    def __init__(self, grid: Callable[[Schedule], Chain]):
        self.grid = grid

    def draw(self, u: Tensor, schedule: Schedule) -> tuple[Level, Tensor]:
        levels = self.grid(schedule).levels[:-1]
        return levels[(u.double() * len(levels.alpha)).long()], torch.ones_like(u)


def ratio(t: Level) -> Tensor:
    """r = sigma / alpha, the noise of x_t / alpha."""
    return t.sigma / t.alpha


def truncated_snr(t: Level) -> Tensor:
    """max(alpha^2 / sigma^2, 1): weights errors of x0hat at high noise, and errors of eps at low noise.

    Source: Salimans and Ho 2022 (arXiv 2202.00512), section 4.
    """
    return ratio(t).square().reciprocal().clamp_min(1)


def at_ratio(schedule: Schedule, r: Tensor) -> Level:
    """The levels with the given r = sigma / alpha; r = 0 is the clean level."""
    return schedule.at(-2 * torch.log(r))


def euler(p: Prediction, s: Level) -> Tensor:
    """x_s = alpha_s x0hat + sigma_s eps: an Euler step of dy/dr = eps, y = x / alpha, and a step of DDIM."""
    return like(s.alpha, p.x_t) * p.x0 + like(s.sigma, p.x_t) * p.eps


def two_steps(first: Prediction, second: Prediction, t: Level, middle: Level, s: Level) -> Tensor:
    """The x0 with which one DDIM step t -> s ends at the same state as two, t -> middle -> s: [B, ...].

    In k = alpha / sigma the DDIM step x_s / sigma_s = x_t / sigma_t + (k_s - k_t) x0hat is an Euler step. The result is
    therefore the weighted mean (k_m - k_t) / (k_s - k_t) x0hat_t + (k_s - k_m) / (k_s - k_t) x0hat_m. This equals
    (z'' - (sigma'' / sigma) z) / (alpha'' - (sigma'' / sigma) alpha) of Salimans and Ho 2022 (arXiv 2202.00512),
    algorithm 2, but has less cancellation.
    """
    start, mid = t.alpha / t.sigma, middle.alpha / middle.sigma
    share = torch.where(s.sigma > 0, (mid - start) / (s.alpha / s.sigma - start), 0.0)
    return like(share, first.x0) * first.x0 + like(1 - share, first.x0) * second.x0
