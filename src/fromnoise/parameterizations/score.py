"""The score: the gradient of the log-density of the noisy data."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fromnoise.gaussian import Level
from fromnoise.parameterizations.base import Equation, Parameterization
from fromnoise.registry import register
from fromnoise.schedules.base import Schedule


@register("score")
@dataclass(frozen=True)
class Score(Parameterization):
    """F = grad log q(x_t) = -eps / sigma (Sedykh eq. 3.29)."""

    def equation(self, t: Level, schedule: Schedule) -> Equation:
        one = torch.ones_like(t.alpha)
        return Equation(-t.sigma, torch.zeros_like(one), one)

    def score_factors(self, t: Level, equation: Equation) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(t.alpha), torch.ones_like(t.alpha)
