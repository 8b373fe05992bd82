"""The general chain: an arbitrary scale gamma_t and noise sigma_t at every step."""

from collections.abc import Sequence

import torch

from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Gaussian, Level
from fromnoise.registry import register
from fromnoise.schedules.base import Discrete, centred


@register("chain")
class GeneralChain(Discrete):
    """x_t = gamma_t x_{t-1} + sigma_t eps_t, hence q(x_t | x_0) = N(gammabar_t x_0, sigmabar_t^2 I) with
    gammabar_t = prod gamma_i and sigmabar_t^2 = gamma_t^2 sigmabar_{t-1}^2 + sigma_t^2.

    Source: Ho et al. 2020, arXiv 2006.11239, eq. 2, for gamma_i = sqrt(1 - beta_i); Friedman eq. 2 and 8-10 (with the
    product over gamma_i). The prior is N(0, sigmabar_T^2 I), the covariance that Friedman eq. 7 and 11-12 require of
    p_T.

    Args:
        gamma: scales of the T steps, positive.
        sigma: standard deviations of the noise added in the T steps, not negative; the first must be positive.
    """

    def __init__(self, gamma: Sequence[float], sigma: Sequence[float]):
        if len(gamma) != len(sigma):
            raise FromNoiseError(f"gamma and sigma must have the same length, got {len(gamma)} and {len(sigma)}")
        scale, variance, scales, variances = 1.0, 0.0, [], []
        for g, s in zip(gamma, sigma, strict=True):
            scale *= g
            variance = g * g * variance + s * s
            scales.append(scale)
            variances.append(variance)
        as_tensor = torch.tensor([scales, variances], dtype=torch.float64, device="cpu")
        super().__init__(as_tensor[0], as_tensor[1].sqrt())

    def prior(self, t: Level | None = None) -> Gaussian:
        return centred(2 * torch.log(self.sigma[-1] if t is None else t.sigma))
