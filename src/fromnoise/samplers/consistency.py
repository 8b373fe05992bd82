"""Consistency sampling: one call leads to the data; further steps add noise and call again."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level, like
from fromnoise.registry import register
from fromnoise.samplers.base import Noise, Sampler


@register("consistency")
@dataclass(frozen=True)
class Consistency(Sampler):
    """x_s = alpha_s f(x_t, t) + sigma_s z; the step to the clean level is f(x_t, t) itself.

    Each further step costs one call, and its noise removes some of the errors of f. Source: Song et al. 2023 (arXiv
    2303.01469), algorithm 1.
    """

    order: ClassVar[int | None] = None
    default_spacing: ClassVar[str] = "karras"
    needs: ClassVar[str] = "a consistency model, whose output is the end of a path"
    student: ClassVar[str] = "consistency"

    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        end = denoiser(x, t, cond).x0
        return (end if s.is_clean else like(s.alpha, x) * end + like(s.sigma, x) * noise()), state
