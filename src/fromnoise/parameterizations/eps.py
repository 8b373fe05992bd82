"""eps, the noise in x_t."""

from dataclasses import dataclass

import torch

from fromnoise.gaussian import Level
from fromnoise.parameterizations.base import Equation, Parameterization
from fromnoise.registry import register
from fromnoise.schedules.base import Schedule


@register("eps")
@dataclass(frozen=True)
class Eps(Parameterization):
    """F = eps, the noise of x_t relative to x_0, not that of a single step (Sedykh eq. 2.80, 2.98; Notes eq. 15)."""

    def equation(self, t: Level, schedule: Schedule) -> Equation:
        one = torch.ones_like(t.alpha)
        return Equation(one, torch.zeros_like(one), one)
