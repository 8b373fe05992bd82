"""The schedule of the variance-preserving SDE: beta(t) is linear in continuous time."""

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.registry import register
from fromnoise.schedules.continuous import Continuous


@register("vp")
class VP(Continuous):
    """log alpha = -(beta_max - beta_min) u^2 / 4 - beta_min u / 2, sigma^2 = 1 - alpha^2, u = t/T in [0, 1].

    This is the limit of DDPM's linear schedule for many steps, with beta_min = T beta_1 and beta_max = T beta_T
    (Song et al. 2021, eq. 32-33; Weng: the sum of beta must diverge for x_T to become N(0, I)).

    Args:
        T: number of rows of the chain that the bound sums over.
        beta_min, beta_max: rates at u = 0 and u = 1, positive.
    """

    first = 0.0

    def __init__(self, T: int = 1000, beta_min: float = 0.1, beta_max: float = 20.0):
        if not 0 < beta_min <= beta_max:
            raise FromNoiseError(f"0 < beta_min <= beta_max is needed, got {beta_min} and {beta_max}")
        self.beta_min, self.beta_max = beta_min, beta_max
        super().__init__(T)

    def log_alpha(self, time: Tensor, T: int) -> Tensor:
        u = time / T
        return -(self.beta_max - self.beta_min) * u**2 / 4 - self.beta_min * u / 2

    def time_of(self, log_alpha: Tensor) -> Tensor:
        """The inverse of `log_alpha`: the positive root of a quadratic, in a form without cancellation."""
        root = torch.sqrt(self.beta_min**2 - 4 * (self.beta_max - self.beta_min) * log_alpha)
        return self.T * -4 * log_alpha / (self.beta_min + root)

    def path(self, time: Tensor, T: int) -> tuple[Tensor, Tensor]:
        log_alpha = self.log_alpha(time, T)
        return torch.exp(log_alpha), torch.sqrt(-torch.expm1(2 * log_alpha))

    def time(self, log_snr: Tensor) -> Tensor:
        return self.time_of(-torch.logaddexp(torch.zeros_like(log_snr), -log_snr) / 2)
