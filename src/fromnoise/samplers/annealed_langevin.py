"""Annealed Langevin dynamics: NCSN's sampler, for the levels of any schedule."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, like
from fromnoise.langevin import langevin
from fromnoise.registry import register
from fromnoise.samplers.base import Noise, Sampler


@register("annealed-langevin")
@dataclass(frozen=True)
class AnnealedLangevin(Sampler):
    """y <- y + e score(y) + sqrt(2 e) z, n times at every level, e = size v^2; y = x / alpha, v = sigma / alpha.

    In terms of y, a variance-preserving model becomes NCSN's, a ladder of noise levels v on unscaled data, so the same
    checkpoint can be sampled in both ways (Sedykh 3.4). `size` is NCSN's step size divided by its last sigma squared:
    2e-5 / 0.01^2 = 0.2 for the first version (n = 100, 10 levels), 6.2e-6 / 0.01^2 = 0.062 for the second (n = 5, 232
    levels of CIFAR-10). For other ladders use `langevin.best_size`. NCSN's geometric ladder is `spacing="log-snr"`. The
    step to the clean level returns x0hat, the final denoising of the second version.

    Args:
        size: step size relative to the variance v^2 of the level, in (0, 1).
        n: Langevin steps at each level.
        convention: "code" is the equation above, as in NCSN's code; "written" is Sedykh Algorithm 3,
            y + e/2 score + sqrt(e) z, which is half the step size.
    """

    order: ClassVar[int | None] = None
    default_spacing: ClassVar[str] = "log-snr"
    size: float = 0.062
    n: int = 5
    convention: Literal["code", "written"] = "code"

    def __post_init__(self) -> None:
        if not 0 < self.size < 1:
            raise FromNoiseError(f"sampler.size must lie between 0 and 1, got {self.size}")
        if self.n < 1:
            raise FromNoiseError(f"sampler.n must be at least 1, got {self.n}")

        if self.convention not in ("code", "written"):
            raise FromNoiseError(f"sampler.convention must be code or written, got {self.convention!r}")

    def nfe(self, steps: int) -> int:
        return (steps - 1) * self.n + 1

    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        if s.is_clean:
            return denoiser(x, t, cond).x0, state
        alpha, spread = like(s.alpha, x), s.sigma / s.alpha
        factor = 2 if self.convention == "code" else 1
        size = factor * self.size * spread.item() ** 2
        y = like(torch.where(t.alpha > 0, 1 / t.alpha, spread), x) * x  # y is unbounded at alpha = 0: take v_s
        y = langevin(lambda y: alpha * denoiser(alpha * y, s, cond).score, y, size, self.n, noise)
        return alpha * y, state
