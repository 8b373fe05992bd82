"""The mean of the posterior q(x_{t-1} | x_t, x_0)."""

from dataclasses import dataclass

import torch

from fromnoise.gaussian import Level, step
from fromnoise.parameterizations.base import Equation, Parameterization
from fromnoise.registry import register
from fromnoise.schedules.base import Schedule


@register("mean")
@dataclass(frozen=True)
class Mean(Parameterization):
    """F = the mean of q(x_{t-1} | x_t, x_0) for neighbouring rows (Sedykh eq. 2.68, 2.87-2.89; Friedman eq. 33)."""

    def equation(self, t: Level, schedule: Schedule) -> Equation:
        k = step(t, schedule.level((t.time - 1).clamp_min(0)))  # row 1's time may lie a rounding error below 1
        return Equation(torch.ones_like(t.alpha), k.from_x_t * t.alpha + k.from_x0, k.from_x_t * t.sigma)
