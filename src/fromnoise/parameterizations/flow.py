"""Flow matching: the velocity eps - x_0 of a straight path from data to noise."""

from dataclasses import dataclass

import torch

from fromnoise.gaussian import Level
from fromnoise.parameterizations.base import Equation, Parameterization
from fromnoise.registry import register
from fromnoise.schedules.base import Schedule


@register("flow")
@dataclass(frozen=True)
class Flow(Parameterization):
    """F = eps - x_0, which is dx_t/dt on the path x_t = (1 - t) x_0 + t eps of the schedule "rectified".

    It determines x_0 at every level of any schedule, since alpha + sigma never vanishes.

    Source: Lipman et al. 2023 (arXiv 2210.02747), Liu et al. 2023 (arXiv 2209.03003), both with time running from noise
    to data.
    """

    def equation(self, t: Level, schedule: Schedule) -> Equation:
        one = torch.ones_like(t.alpha)
        return Equation(one, -one, one)
