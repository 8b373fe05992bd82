"""Min-SNR weighting: the squared error of x_0, with a capped weight so that clean levels do not dominate."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level
from fromnoise.objectives._weighted import Weighted
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.registry import register
from fromnoise.schedules.base import Chain


@register("min-snr")
@dataclass(frozen=True)
class MinSNR(Weighted):
    """L = min(SNR, gamma) |x_0 - x0hat|^2 / D, SNR = alpha^2 / sigma^2.

    For a network that predicts eps, this weights the squared error of eps by min(SNR, gamma)/SNR; for one that predicts
    v, that of v by min(SNR, gamma)/(SNR + 1) (Hang et al. 2023).

    Args:
        gamma: largest weight.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        if self.gamma <= 0:
            raise FromNoiseError(f"objective.gamma must be positive, got {self.gamma}")

    def weight(self, p: Prediction, t: Level, denoiser: Denoiser, chain: Chain) -> Tensor:
        return torch.exp(t.log_snr).clamp_max(self.gamma)
