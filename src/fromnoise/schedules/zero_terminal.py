"""Another schedule, rescaled so that no signal is left at t = T."""

from typing import Any

import torch
from torch import Tensor

from fromnoise import schedules
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level
from fromnoise.registry import register
from fromnoise.schedules.base import Discrete


@register("zero-terminal")
class ZeroTerminal(Discrete):
    """alpha_t <- alpha_1 (alpha_t - alpha_T) / (alpha_1 - alpha_T), sigma_t^2 = 1 - alpha_t^2: alpha_T = 0, L_T = 0.

    Source: Lin et al. 2023, algorithm 1. Common schedules leave some signal at T, which is there in training but
    not in sampling. Without signal at T, eps does not determine x_0, so the network must predict v or x0.

    Args:
        base: the schedule to rescale: a name or {"name": ..., option: value}; variance-preserving, with at least two
            rows.
    """

    def __init__(self, base: str | dict[str, Any] = "linear"):
        rows = schedules.build(base)
        if not isinstance(rows, Discrete) or rows.T < 2:
            raise FromNoiseError("the base must be a chain of at least two rows")
        if not torch.allclose(rows.alpha**2 + rows.sigma**2, torch.ones_like(rows.alpha)):
            raise FromNoiseError("the base must be variance-preserving")
        alpha = rows.alpha[1:]
        # sigma_1 is kept exactly: 1 - alpha^2 would cancel there, where alpha is close to 1.
        alpha = alpha[0] * (alpha - alpha[-1]) / (alpha[0] - alpha[-1])
        rest = (1 - alpha) * (1 + alpha)
        rest[0] = rows.sigma[1] ** 2
        super().__init__(alpha, rest.sqrt())

    def level(self, t: float | Tensor) -> Level:
        """The level at time t; between the last two rows alpha is linear in t, because the log-SNR falls to -inf."""
        usual = super().level(t)
        last = usual.time > self.T - 1
        alpha = torch.where(last, self.alpha[-2] * (self.T - usual.time), usual.alpha)
        return Level(usual.time, alpha, torch.where(last, (1 - alpha).mul(1 + alpha).sqrt(), usual.sigma))

    def at(self, log_snr: float | Tensor) -> Level:
        wanted = torch.as_tensor(log_snr, dtype=torch.float64, device="cpu")
        last = wanted < self.log_snr[-2]
        usual = super().at(torch.where(last, self.log_snr[-2], wanted))
        time = self.T - torch.sigmoid(wanted).sqrt() / self.alpha[-2]
        return self.level(torch.where(last, time, usual.time))
