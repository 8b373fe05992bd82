"""SD3's mode sampling: favours the middle of the path or its ends, and still covers all of it."""

import math

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level
from fromnoise.registry import register
from fromnoise.schedules.base import Schedule
from fromnoise.times.base import TimeSampling

_MOST = 2 / (math.pi - 2)


@register("mode")
class Mode(TimeSampling):
    """tau = 1 - u - s (cos^2(pi u / 2) - 1 + u), u uniform in [0, 1), tau = sigma / (alpha + sigma), weight 1.

    On the straight path, where alpha = 1 - tau and sigma = tau, tau is the time. For other schedules it sets the level
    with log-SNR = 2 log((1 - tau) / tau), clamped to the schedule's levels. s > 0 favours the middle of the path, s < 0
    the ends, and s = 0 neither. Source: Esser et al. 2024 (arXiv 2403.03206), eq. 20, where s = 1.29 was among the best
    values. The logit-normal times of their eq. 19 are `lognormal`.

    Args:
        scale: s, in [-1, 2 / (pi - 2)], where the upper end is about 1.75; outside, tau would not fall with u.
    """

    on_rows = False

    def __init__(self, scale: float = 1.29):
        if not -1 <= scale <= _MOST:
            raise FromNoiseError(f"scale must lie in [-1, 2 / (pi - 2)], which is [-1, {_MOST:.4f}], got {scale}")
        self.scale = scale

    def draw(self, u: Tensor, schedule: Schedule) -> tuple[Level, Tensor]:
        u = u.double().clamp(1e-12, 1 - 1e-12)
        tau = (1 - u - self.scale * (torch.cos(math.pi * u / 2) ** 2 - 1 + u)).clamp(0, 1)  # rounding may leave it
        chain = schedule.chain
        log_snr = 2 * torch.log((1 - tau) / tau)
        return schedule.at(log_snr.clamp(chain[0].log_snr, chain[-2].log_snr)), torch.ones_like(u)
