"""The schedule of the variance-exploding SDE: noise grows geometrically, the signal stays."""

import math

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Gaussian, Level
from fromnoise.registry import register
from fromnoise.schedules.base import centred
from fromnoise.schedules.continuous import Continuous


@register("ve")
class VE(Continuous):
    """alpha = 1, sigma_t = sigma_min (sigma_max / sigma_min)^((t - 1)/(T - 1)), t in [1, T]; prior N(0, sigma_max^2 I).

    This is NCSN's geometric ladder (Sedykh eq. 3.16-3.18) and the variance-exploding SDE (Song et al. 2021,
    eq. 30-31). The defaults are for data in [-1, 1], twice the values that the papers use for [0, 1].

    Args:
        T: number of rows of the chain.
        sigma_min, sigma_max: sigma of the first and the last row.
    """

    def __init__(self, T: int = 1000, sigma_min: float = 0.02, sigma_max: float = 100.0):
        if not 0 < sigma_min < sigma_max:
            raise FromNoiseError(f"0 < sigma_min < sigma_max is needed, got {sigma_min} and {sigma_max}")
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        super().__init__(T)

    def path(self, time: Tensor, T: int) -> tuple[Tensor, Tensor]:
        share = (time - 1) / (T - 1) if T > 1 else torch.ones_like(time)
        sigma = self.sigma_min * torch.exp(share * math.log(self.sigma_max / self.sigma_min))
        return torch.ones_like(sigma), sigma

    def time(self, log_snr: Tensor) -> Tensor:
        share = (-log_snr / 2 - math.log(self.sigma_min)) / math.log(self.sigma_max / self.sigma_min)
        return 1 + (self.T - 1) * share

    def prior(self, t: Level | None = None) -> Gaussian:
        return centred(2 * torch.log(self.sigma[-1] if t is None else t.sigma))
