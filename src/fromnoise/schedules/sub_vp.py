"""The sub-variance-preserving SDE's schedule: VP's signal with less noise."""

import torch
from torch import Tensor

from fromnoise.registry import register
from fromnoise.schedules._continuous import Continuous


@register("sub-vp")
class SubVP(Continuous):
    """log alpha = -(beta_max - beta_min) u^2 / 4 - beta_min u / 2, sigma = 1 - alpha^2, u = t/T in [0, 1].

    The standard deviation where VP has the variance, so that it is never above VP's; made for likelihoods
    (Song et al. 2021, eq. 29).

    Args:
        T: rows of the chain that the bound is summed over.
        beta_min, beta_max: rates at u = 0 and u = 1, positive.
    """

    first = 0.0

    def __init__(self, T: int = 1000, beta_min: float = 0.1, beta_max: float = 20.0):
        if not 0 < beta_min <= beta_max:
            raise ValueError(f"0 < beta_min <= beta_max is needed, got {beta_min} and {beta_max}")
        self.beta_min, self.beta_max = beta_min, beta_max
        super().__init__(T)

    def path(self, time: Tensor, T: int) -> tuple[Tensor, Tensor]:
        u = time / T
        log_alpha = -(self.beta_max - self.beta_min) * u**2 / 4 - self.beta_min * u / 2
        return torch.exp(log_alpha), -torch.expm1(2 * log_alpha)

    def time(self, log_snr: Tensor) -> Tensor:
        # alpha / (1 - alpha^2) = e^(log_snr / 2) is -1 / (2 sinh(log alpha)).
        log_alpha = -torch.asinh(torch.exp(-log_snr / 2) / 2)
        root = torch.sqrt(self.beta_min**2 - 4 * (self.beta_max - self.beta_min) * log_alpha)
        return self.T * -4 * log_alpha / (self.beta_min + root)
