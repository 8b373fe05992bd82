"""The reverse SDE by the Euler-Maruyama method: the reverse-diffusion sampler of Song et al."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level, like, step
from fromnoise.registry import register
from fromnoise.samplers.base import Noise, Sampler


@register("euler-maruyama")
@dataclass(frozen=True)
class EulerMaruyama(Sampler):
    """x_s = (2 - a) x_t + b score(x_t) + sqrt(b) z, where q(x_t | x_s) = N(a x_s, b I).

    This discretises the reverse SDE dx = (f x - g^2 score) dt + g dw with a - 1 for f dt and b for g^2 dt, and needs
    many steps. On a variance-preserving chain it is (2 - sqrt(1 - beta)) x + beta score + sqrt(beta) z, on a
    variance-exploding one x + (sigma_t^2 - sigma_s^2) score + sqrt(sigma_t^2 - sigma_s^2) z. The step to the clean
    level returns x0hat. Source: Song et al. 2021, eq. 6 and appendix E.
    """

    order: ClassVar[int | None] = 1

    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        p = denoiser(x, t, cond)
        if s.is_clean:
            return p.x0, state
        k = step(t, s)
        return like(2 - k.a, x) * x + like(k.b, x) * p.score + like(k.b.sqrt(), x) * noise(), state
