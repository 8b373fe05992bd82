"""The schedule of the sub-VP SDE: the signal of VP with less noise."""

import torch
from torch import Tensor

from fromnoise.registry import register
from fromnoise.schedules.vp import VP


@register("sub-vp")
class SubVP(VP):
    """log alpha = -(beta_max - beta_min) u^2 / 4 - beta_min u / 2, sigma = 1 - alpha^2, u = t/T in [0, 1].

    1 - alpha^2 is the standard deviation of the noise here and its variance in VP, so there is never more noise than in
    VP. Made for good likelihoods (Song et al. 2021, eq. 29).

    Args:
        T: number of rows of the chain that the bound sums over.
        beta_min, beta_max: rates at u = 0 and u = 1, positive.
    """

    def path(self, time: Tensor, T: int) -> tuple[Tensor, Tensor]:
        log_alpha = self.log_alpha(time, T)
        return torch.exp(log_alpha), -torch.expm1(2 * log_alpha)

    def time(self, log_snr: Tensor) -> Tensor:
        # alpha / (1 - alpha^2) = e^(log_snr / 2) is -1 / (2 sinh(log alpha)).
        return self.time_of(-torch.asinh(torch.exp(-log_snr / 2) / 2))
