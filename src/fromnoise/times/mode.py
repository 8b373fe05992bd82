"""SD3's times that prefer the middle of the path, or its ends, and still reach all of it."""

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

    tau is the time of the straight path, where alpha = 1 - tau and sigma = tau, and the share of noise at a level of
    any other schedule: log-SNR = 2 log((1 - tau) / tau), kept within the schedule's levels. With s > 0 the middle is
    looked at more often, with s < 0 the ends, with s = 0 all of the path equally.
    Source: Esser et al. 2024 (arXiv 2403.03206), eq. 20, where 1.29 was among the best. The logit-normal times of their
    eq. 19 are `lognormal`.

    Args:
        scale: s, in [-1, 2 / (pi - 2)], about 1.75, outside of which tau would not fall with u.
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
