"""Mean-flow sampling: steps of any length, along the average velocity over the step."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level, like
from fromnoise.registry import register
from fromnoise.samplers.base import Noise, Sampler


@register("mean-flow")
@dataclass(frozen=True)
class MeanFlow(Sampler):
    """y_s = y_t - (tau_t - tau_s) u(y_t, s, t), y = x / (alpha + sigma), tau = sigma / (alpha + sigma).

    Source: Geng et al. 2025 (arXiv 2505.13447), eq. 12.
    """

    order: ClassVar[int | None] = None
    needs: ClassVar[str] = "a mean-flow model, whose network is given the length of the step"
    student: ClassVar[str] = "mean-flow"

    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        start, end = t.alpha + t.sigma, s.alpha + s.sigma
        span = t.sigma / start - s.sigma / end
        p = denoiser(x, t, (cond or {}) | {"span": span.to(x).expand(len(x))})
        y = x / like(start, x) - like(span, x) * (p.eps - p.x0)
        return like(end, x) * y, state
