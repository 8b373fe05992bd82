"""The noise."""

from dataclasses import dataclass

import torch

from fromnoise.gaussian import Level
from fromnoise.parameterizations.base import Equation, Parameterization
from fromnoise.registry import register
from fromnoise.schedules.base import Schedule


@register("eps")
@dataclass(frozen=True)
class Eps(Parameterization):
    """F = eps, the noise relative to x_0 and not that of step t (Sedykh eq. 2.80, 2.98; Notes eq. 15)."""

    def equation(self, t: Level, schedule: Schedule) -> Equation:
        one = torch.ones_like(t.alpha)
        return Equation(one, torch.zeros_like(one), one)
