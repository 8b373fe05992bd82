"""EDM's schedule: noise added to unscaled data, with sigma^(1/7) linear in time."""

import math

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Gaussian, Level
from fromnoise.registry import register
from fromnoise.schedules.base import centred
from fromnoise.schedules.continuous import Continuous


@register("edm")
class EDM(Continuous):
    """alpha = 1, sigma_t = (m + (t - 1)/(T - 1) (M - m))^rho, m = sigma_min^(1/rho), M = sigma_max^(1/rho).

    n uniform steps give the grid of Karras et al. 2022, eq. 5, for any T. The prior is N(0, sigma_max^2 I), and the
    network's time argument is ln(sigma)/4. EDM draws ln sigma from a normal distribution in training: times
    "lognormal".

    Args:
        T: number of rows of the chain that the bound sums over.
        sigma_min, sigma_max: sigma of the first and the last row.
        rho: exponent; larger values spend more steps at low noise.
    """

    def __init__(self, T: int = 1000, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0):
        if not 0 < sigma_min < sigma_max or rho <= 0:
            raise FromNoiseError(
                f"0 < sigma_min < sigma_max and rho > 0 are needed, got {sigma_min}, {sigma_max}, {rho}"
            )
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
        """ln(sigma) / 4; at the clean level ln(sigma_min) / 4."""
        return (torch.log(t.sigma.clamp_min(math.exp(self.rho * math.log(self._low)))) / 4).float()
