"""L_hybrid: L_simple to train the mean, plus a small multiple of L_vlb to train the variance."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from fromnoise.bound import step_terms
from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, diffuse
from fromnoise.objectives.base import Objective
from fromnoise.registry import register
from fromnoise.schedules.base import Chain


@register("hybrid")
@dataclass(frozen=True)
class Hybrid(Objective):
    """L = L_simple + weight sum_t L_t in bits/dim, with a stop-gradient on the mean inside L_t.

    Because of the stop-gradient the bound trains only the variance. Source: Nichol and Dhariwal 2021, arXiv 2102.09672,
    eq. 16; Sedykh eq. 4.2 (lambda = 0.001; the stop-gradient, not mentioned there, is from improved DDPM, section 3.1).

    Args:
        weight: lambda, the weight of the bound.
    """

    teaches_variance: ClassVar[bool] = True
    needs_chain: ClassVar[bool] = True
    weight: float = 0.001

    def check(self, denoiser: Denoiser) -> None:
        super().check(denoiser)
        if denoiser.variance.outputs == 1:
            raise FromNoiseError("objective hybrid teaches a variance: set variance=learned_range, or use simple")

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
        target = denoiser.parameterization.target(x0, noise, t, denoiser.schedule)
        simple = (p.output - target).square().flatten(1).mean(1)
        frozen = replace(p, output=p.output.detach())
        vlb = chain.steps * step_terms(denoiser, frozen, x0, t, chain.below(t), chain) / (x0[0].numel() * math.log(2))
        return {"loss": simple + self.weight * vlb, "simple": simple.detach(), "vlb": vlb.detach()}
