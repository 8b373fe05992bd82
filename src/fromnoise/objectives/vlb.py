"""L_vlb: one randomly drawn term of the variational bound."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fromnoise.bound import learned_prior, step_terms
from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level, diffuse
from fromnoise.objectives.base import Objective
from fromnoise.registry import register
from fromnoise.schedules.base import Chain


@register("vlb")
@dataclass(frozen=True)
class Vlb(Objective):
    """L = T L_t in bits/dim. Its mean over uniform t is the bound without L_T; a learned schedule adds L_T.

    It trains the mean and, with "learned_range", the variance. Its gradient is noisy: use it with importance sampling
    of t (times "importance"). Source: Ho et al. 2020, arXiv 2006.11239, eq. 5, and Nichol and Dhariwal 2021, arXiv
    2102.09672, section 3.3; Sedykh eq. 2.38 and 4.3 with p_t = 1/T.
    """

    bound: ClassVar[bool] = True
    teaches_variance: ClassVar[bool] = True
    needs_chain: ClassVar[bool] = True

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
        p = denoiser(diffuse(x0, noise, t), t, cond)
        term = step_terms(denoiser, p, x0, t, chain.below(t), chain) / (x0[0].numel() * math.log(2))
        prior = learned_prior(denoiser, x0, chain)
        return {"loss": chain.steps * term + prior, "vlb": chain.steps * term.detach()}
