"""EDM's training levels: log(sigma / alpha) is normally distributed."""

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level
from fromnoise.registry import register
from fromnoise.schedules.base import Schedule
from fromnoise.times.base import TimeSampling


@register("lognormal")
class LogNormal(TimeSampling):
    """ln(sigma / alpha) ~ N(mean, std^2), weight 1 (Karras et al. 2022, table 1); clamped to the schedule's levels.

    On the straight path, where alpha = 1 - sigma, this is logit(sigma) ~ N(mean, std^2): the logit-normal times of
    Esser et al. 2024 (arXiv 2403.03206), eq. 19, who use mean 0 and std 1.

    Args:
        mean, std: mean and standard deviation of ln(sigma / alpha).
    """

    on_rows = False

    def __init__(self, mean: float = -1.2, std: float = 1.2):
        if std <= 0:
            raise FromNoiseError(f"std must be positive, got {std}")
        self.mean, self.std = mean, std

    def draw(self, u: Tensor, schedule: Schedule) -> tuple[Level, Tensor]:
        log_ratio = self.mean + self.std * torch.special.ndtri(u.double().clamp(1e-12, 1 - 1e-12))
        chain = schedule.chain
        return schedule.at((-2 * log_ratio).clamp(chain[0].log_snr, chain[-2].log_snr)), torch.ones_like(u)
