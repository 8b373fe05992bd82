"""Friedman's simple variant of the bound, estimated from three states of one noisy path."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fromnoise.bound import learned_prior, path_terms
from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level
from fromnoise.objectives.base import Objective
from fromnoise.registry import register
from fromnoise.schedules.base import Chain


@register("two-draw")
@dataclass(frozen=True)
class TwoDraw(Objective):
    """L = T (log q(x_s | x_r) - log p(x_s | x_t)) in bits/dim, r < s < t neighbours, on one path x_r -> x_s -> x_t.

    Where s is clean it is the decoder's -log p(x_0 | x_1), as in L_vlb. Its mean over uniform t equals that of L_vlb up
    to a constant, but its variance is larger, because no expectation is taken in closed form. Source: Friedman eq.
    15-18, whose KL treats x_s and x_t as independent given x_r; they are not, and minimising the printed form leads to
    a wrong chain.
    """

    bound: ClassVar[bool] = True
    teaches_variance: ClassVar[bool] = True
    needs_chain: ClassVar[bool] = True
    draws: ClassVar[int] = 3

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        t: Level,
        noise: Tensor,
        cond: Cond | None = None,
        chain: Chain | None = None,
    ) -> dict[str, Tensor]:
        chain = chain or denoiser.schedule.chain
        term = path_terms(denoiser, x0, t, noise, chain, cond) / (x0[0].numel() * math.log(2))
        prior = learned_prior(denoiser, x0, chain)
        return {"loss": chain.steps * term + prior, "vlb": chain.steps * term.detach()}
