"""EDM's schedule: noise on top of the data, sigma^(1/7) linear."""

import math

import torch
from torch import Tensor

from fromnoise.gaussian import Gaussian, Level
from fromnoise.registry import register
from fromnoise.schedules.base import centred
from fromnoise.schedules.continuous import Continuous


@register("edm")
class EDM(Continuous):
    """alpha = 1, sigma_t = (m + (t - 1)/(T - 1) (M - m))^rho, m = sigma_min^(1/rho), M = sigma_max^(1/rho).

    n uniform steps are the grid of Karras et al. 2022, eq. 5, whatever T is; the prior is N(0, sigma_max^2 I), and
    the network is told ln(sigma)/4. Training draws ln sigma from a normal distribution: times "lognormal".

    Args:
        T: rows of the chain that the bound is summed over.
        sigma_min, sigma_max: noise of the first and of the last row.
        rho: 7; larger spends more steps at low noise.
    """

    def __init__(self, T: int = 1000, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0):
        if not 0 < sigma_min < sigma_max or rho <= 0:
            raise ValueError(f"0 < sigma_min < sigma_max and rho > 0 are needed, got {sigma_min}, {sigma_max}, {rho}")
        self.rho, self._low, self._high = rho, sigma_min ** (1 / rho), sigma_max ** (1 / rho)
        super().__init__(T)

    def path(self, time: Tensor, T: int) -> tuple[Tensor, Tensor]:
        share = (time - 1) / (T - 1) if T > 1 else torch.ones_like(time)
        sigma = (self._low + share * (self._high - self._low)) ** self.rho
        return torch.ones_like(sigma), sigma

    def time(self, log_snr: Tensor) -> Tensor:
        root = torch.exp(-log_snr / (2 * self.rho))
        return 1 + (self.T - 1) * (root - self._low) / (self._high - self._low)

    def prior(self, t: Level | None = None) -> Gaussian:
        return centred(2 * torch.log(self.sigma[-1] if t is None else t.sigma))

    def network_time(self, t: Level) -> Tensor:
        """ln(sigma) / 4; that of sigma_min at the clean level."""
        return (torch.log(t.sigma.clamp_min(math.exp(self.rho * math.log(self._low)))) / 4).float()
