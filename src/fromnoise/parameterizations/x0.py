"""x_0, the clean data."""

from dataclasses import dataclass

import torch

from fromnoise.gaussian import Level
from fromnoise.parameterizations.base import Equation, Parameterization
from fromnoise.registry import register
from fromnoise.schedules.base import Schedule


@register("x0")
@dataclass(frozen=True)
class X0(Parameterization):
    """F = x_0, the clean data (Friedman eq. 34)."""

    def equation(self, t: Level, schedule: Schedule) -> Equation:
        one = torch.ones_like(t.alpha)
        return Equation(one, one, torch.zeros_like(one))
