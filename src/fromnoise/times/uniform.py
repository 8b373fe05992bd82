"""Uniform times: every time of the schedule is equally likely."""

import torch
from torch import Tensor

from fromnoise.gaussian import Level
from fromnoise.registry import register
from fromnoise.schedules.base import Schedule
from fromnoise.times.base import TimeSampling


@register("uniform")
class Uniform(TimeSampling):
    """t ~ Uniform{1, ..., T}, weight 1 (Sedykh Algorithm 1)."""

    def draw(self, u: Tensor, schedule: Schedule) -> tuple[Level, Tensor]:
        return schedule.draw(u), torch.ones_like(u)
