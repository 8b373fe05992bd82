"""v = alpha eps - sigma x_0, the velocity of Salimans and Ho."""

from dataclasses import dataclass

import torch

from fromnoise.gaussian import Level
from fromnoise.parameterizations.base import Equation, Parameterization
from fromnoise.registry import register
from fromnoise.schedules.base import Schedule


@register("v")
@dataclass(frozen=True)
class V(Parameterization):
    """F = v = alpha eps - sigma x_0 (Salimans and Ho, 2022)."""

    def equation(self, t: Level, schedule: Schedule) -> Equation:
        return Equation(torch.ones_like(t.alpha), -t.sigma, t.alpha)
