"""L_t with its own weight: one term of the bound as a squared error, for a fixed variance."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, step
from fromnoise.objectives._weighted import Weighted
from fromnoise.parameterize import Prediction
from fromnoise.registry import register
from fromnoise.schedules._base import Chain


@register("weighted")
@dataclass(frozen=True)
class WeightedTerm(Weighted):
    """L = T c^2 / (2 var) |x_0 - x0hat|^2 in bits/dim: the part of the bound that the network's mean decides.

    c = alpha_s b / sigma_t^2 is the posterior's weight of x_0. In terms of eps the weight of |eps - epshat|^2 is
    beta_t^2 / (2 var alpha_t (1 - abar_t)), and with the variance beta-tilde it is (SNR_s - SNR_t)/2 for x_0.
    Source: Sedykh eq. 2.89-2.94 and 4.17; Friedman eq. 33, 35 (with the 1/2 and the variance that are missing there);
    Weng eq. 30 (sigma^2 for |Sigma|^2). It differs from L_vlb by what the variance alone decides, and by the decoder's
    bins.

    Raises:
        FromNoiseError: the variance is learned, so that the weight would be too: use "vlb" or "hybrid".
    """

    def check(self, denoiser: Denoiser) -> None:
        if denoiser.variance.outputs != 1:
            raise FromNoiseError("objective weighted needs a fixed variance; with a learned one use hybrid or vlb")

    def weight(self, p: Prediction, t: Level, denoiser: Denoiser, chain: Chain) -> Tensor:
        self.check(denoiser)
        s = chain.below(t)
        k = step(t, s)
        last = s.sigma == 0
        small = torch.log(torch.where(last, 1.0, k.variance))
        log_var = denoiser.variance.log_var(p, k, torch.where(last, chain.first_log_var, small))
        return chain.steps * k.from_x0**2 * torch.exp(-log_var) / (2 * math.log(2))
