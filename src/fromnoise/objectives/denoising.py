"""Denoising score matching, the objective of NCSN."""

from dataclasses import dataclass

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level, diffuse, like
from fromnoise.objectives.base import Objective
from fromnoise.registry import register
from fromnoise.schedules.base import Chain


@register("denoising")
@dataclass(frozen=True)
class Denoising(Objective):
    """L = sigma_t^2 |s(x_t) - grad log q(x_t | x_0)|^2 / 2 = |sigma_t s(x_t) + eps|^2 / 2.

    The gradient of log q(x_t | x_0) with respect to x_t is -(x_t - alpha_t x_0) / sigma_t^2 = -eps / sigma_t, and the
    weight sigma^2 is NCSN's. For a network that predicts eps, the loss is D/2 times L_simple at every level. Source:
    Vincent 2011; Sedykh eq. 3.11 (whose gradient is over the noisy x) and Sedykh eq. 3.16-3.20.
    """

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        t: Level,
        noise: Tensor,
        cond: Cond | None = None,
        chain: Chain | None = None,
    ) -> dict[str, Tensor]:
        score = denoiser(diffuse(x0, noise, t), t, cond).score
        return {"loss": (like(t.sigma, score) * score + noise).square().flatten(1).sum(1) / 2}
