"""Pairs of levels, and steps between them, a batch at a time."""

from collections.abc import Callable

import torch
from torch import Tensor

from fromnoise.gaussian import Level, like
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.schedules.base import Chain, Schedule
from fromnoise.times.base import TimeSampling

_ROUNDING = 1e-9


def above(t: Level, chain: Chain) -> Tensor:
    """The place in the chain of the cleanest of its levels that is no cleaner than t: [B], never the clean end's.

    Of times that are uniform every level of an even chain is drawn as often; of a density p of the noise a level has
    the mass between the level below it and itself.
    """
    rising = chain.levels.log_snr
    wanted = t.log_snr + _ROUNDING * t.log_snr.abs().clamp(1, 1e3)
    return (torch.searchsorted(rising, wanted.contiguous(), right=True) - 1).clamp(0, chain.steps - 1)


class OnGrid(TimeSampling):
    """Every noisy level of a grid equally often, weight 1.

    Args:
        grid: of a schedule.
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
    """max(alpha^2 / sigma^2, 1): errors of x0hat count where noise rules, those of eps where it does not.

    Source: Salimans and Ho 2022 (arXiv 2202.00512), section 4.
    """
    return ratio(t).square().reciprocal().clamp_min(1)


def at_ratio(schedule: Schedule, r: Tensor) -> Level:
    """The levels with these r; r = 0 is the clean one."""
    return schedule.at(-2 * torch.log(r))


def euler(p: Prediction, s: Level) -> Tensor:
    """x_s = alpha_s x0hat + sigma_s eps: one Euler step of dy/dr = eps, y = x / alpha; also DDIM's step."""
    return like(s.alpha, p.x_t) * p.x0 + like(s.sigma, p.x_t) * p.eps


def two_steps(first: Prediction, second: Prediction, t: Level, middle: Level, s: Level) -> Tensor:
    """The x0 from which one DDIM step t -> s leads where two do, t -> middle -> s: [B, ...].

    With k = alpha / sigma, in which DDIM's step x_s / sigma_s = x_t / sigma_t + (k_s - k_t) x0hat is Euler's, it is the
    mean (k_m - k_t) / (k_s - k_t) x0hat_t + (k_s - k_m) / (k_s - k_t) x0hat_m: Salimans and Ho 2022 (arXiv 2202.00512),
    algorithm 2's (z'' - (sigma'' / sigma) z) / (alpha'' - (sigma'' / sigma) alpha), without its differences.
    """
    start, mid = t.alpha / t.sigma, middle.alpha / middle.sigma
    share = torch.where(s.sigma > 0, (mid - start) / (s.alpha / s.sigma - start), 0.0)
    return like(share, first.x0) * first.x0 + like(1 - share, first.x0) * second.x0
