"""DDIM: a family of samplers with the marginals of DDPM; deterministic at eta = 0."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, family, step
from fromnoise.registry import register
from fromnoise.samplers.base import Noise, Sampler


@register("ddim")
@dataclass(frozen=True)
class DDIM(Sampler):
    """x_s = alpha_s x0hat + sqrt(sigma_s^2 - v) eps + sqrt(v) z,  v = eta^2 beta-tilde.

    beta-tilde = b sigma_s^2 / sigma_t^2 is the variance of the posterior: eta = 1 is the ancestral sampler with
    "fixed_small", and eta = 0 a first-order solver of the probability-flow ODE. The latter is not DDPM's step with the
    noise left out (Notes eq. 17). Source: Song et al. 2020, arXiv 2010.02502, eq. 12 and 16; Sedykh eq. 4.13-4.14 and
    4.19 (whose alpha is alpha_bar).

    Args:
        eta: factor of the noise's standard deviation, in [0, 1].

    Raises:
        FromNoiseError: eta is outside [0, 1], where sigma_s^2 - v could be negative.
    """

    order: ClassVar[int | None] = 1
    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise FromNoiseError(f"sampler.eta must lie in [0, 1], got {self.eta}")

    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        p = denoiser(x, t, cond)
        var = self.eta**2 * step(t, s).variance
        q = family(p.x0, p.eps, s, var)
        return (q.mean if s.is_clean or self.eta == 0 else q.sample(noise())), state
