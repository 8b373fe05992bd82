"""DDPM's sampler: draw x_s from p(x_s | x_t) at every step."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor

from fromnoise import variances
from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level
from fromnoise.registry import register
from fromnoise.samplers.base import Noise, Sampler
from fromnoise.variances.base import Variance
from fromnoise.variances.reverse import reverse


@register("ancestral")
@dataclass(frozen=True)
class Ancestral(Sampler):
    """x_s = mean + sqrt(var) z, p(x_s | x_t) = N(mean, var I); no noise in the last step, to s = 0.

    For s = t - 1 this is Algorithm 2, with alpha_bar under the root in front of eps: x_{t-1} = (x_t - beta_t / sqrt(1 -
    abar_t) eps) / sqrt(1 - beta_t) + sigma_t z, z = 0 at t = 1. On a sub-sequence, "fixed_large" is the row sigma-hat
    of Sedykh fig 4.2. Source: Ho et al. 2020, arXiv 2006.11239, Algorithm 2; Sedykh Algorithm 2 and Sedykh eq. 2.80;
    Notes eq. 7, 16 and 18 (with 1/sqrt(1 - beta_t)), Shorts eq. 4 (which must step to this mean).

    Args:
        variance: "fixed_small" or "fixed_large"; default: the variance of the denoiser.
    """

    order: ClassVar[int | None] = 1
    variance: str | None = None

    def __post_init__(self) -> None:
        _ = self._own  # an unknown name is refused now, not at the first step

    @cached_property
    def _own(self) -> Variance | None:
        return None if self.variance is None else variances.build(self.variance)

    def check(self, denoiser: Denoiser) -> None:
        if self._own is not None and self._own.outputs > denoiser.variance.outputs:
            raise FromNoiseError(f"sampler.variance {self.variance} needs a model that learned its variance, and this "
                                 f"one has {denoiser.variance.name}: choose fixed_small or fixed_large")  # fmt: skip

    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        p = denoiser(x, t, cond)
        step = reverse(p, t, s, self._own or denoiser.variance)
        return (step.mean if s.is_clean else step.sample(noise())), state
