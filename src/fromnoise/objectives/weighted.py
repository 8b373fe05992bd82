"""One term of the bound as a squared error with the weight of the bound, for a fixed variance."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fromnoise.denoise import Denoiser
from fromnoise.gaussian import Level, step
from fromnoise.objectives._weighted import Weighted
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.registry import register
from fromnoise.schedules.base import Chain
from fromnoise.variances.base import log_small


@register("weighted")
@dataclass(frozen=True)
class WeightedTerm(Weighted):
    """L = T c^2 / (2 var) |x_0 - x0hat|^2 in bits/dim: the part of the bound that depends on the mean.

    c = alpha_s b / sigma_t^2 is the posterior's weight of x_0. In terms of eps, the weight of |eps - epshat|^2 is
    beta_t^2 / (2 var alpha_t (1 - abar_t)). With the variance beta-tilde, the weight for x_0 is (SNR_s - SNR_t)/2. The
    loss differs from L_vlb in the terms that depend on the variance alone and in the decoder's bins. The variance must
    be fixed: with a learned one the weight would be learned too.

    Source: Ho et al. 2020, arXiv 2006.11239, eq. 12; Sedykh eq. 2.89-2.94 and 4.17; Friedman eq. 33, 35 (with the 1/2
    and the variance that are missing there); Weng eq. 30 (sigma^2 for |Sigma|^2).
    """

    needs_chain: ClassVar[bool] = True

    def weight(self, p: Prediction, t: Level, denoiser: Denoiser, chain: Chain) -> Tensor:
        s = chain.below(t)
        k = step(t, s)
        log_var = denoiser.variance.log_var(p, k, log_small(k, s, chain))
        return chain.steps * k.from_x0**2 * torch.exp(-log_var) / (2 * math.log(2))
