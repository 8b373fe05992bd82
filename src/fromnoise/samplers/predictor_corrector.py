"""Predictor-corrector: an ancestral step, then Langevin dynamics at the level it leads to."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, like
from fromnoise.registry import register
from fromnoise.samplers.ancestral import Ancestral
from fromnoise.samplers.base import Noise, Sampler


@register("predictor-corrector")
@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """x <- x + e score(x) + sqrt(2 e) z at level s, e = 2 (snr sigma_s)^2, after an ancestral step to s.

    The corrector reduces the errors that the predictor made in the distribution of x_s. The reference code uses
    e = 2 (snr |z| / |score|)^2 with norms over the batch. In many dimensions |score| is close to |z| / sigma_s; with
    this value e depends neither on the batch nor on x, as Langevin dynamics requires to keep the distribution of x. The
    last step has no correction. Source: Song et al. 2021, algorithms 2 to 5.

    Args:
        snr: signal-to-noise ratio of a correction, in (0, 0.5).
        corrections: Langevin steps at each level, each of which costs one network call.
        variance: variance of the ancestral predictor: "fixed_small" or "fixed_large".
    """

    order: ClassVar[int | None] = None
    snr: float = 0.16
    corrections: int = 1
    variance: str = "fixed_small"

    def __post_init__(self) -> None:
        if not 0 < self.snr < 0.5:
            raise FromNoiseError(f"sampler.snr must lie between 0 and 0.5, got {self.snr}")
        if self.corrections < 1:
            raise FromNoiseError(f"sampler.corrections must be at least 1, got {self.corrections}")
        _ = self._predictor  # an unknown name is refused now, not at the first step

    @cached_property
    def _predictor(self) -> Ancestral:
        return Ancestral(self.variance)

    def nfe(self, steps: int) -> int:
        return steps + (steps - 1) * self.corrections

    def check(self, denoiser: Denoiser) -> None:
        self._predictor.check(denoiser)

    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        x, state = self._predictor.step(denoiser, x, t, s, state, noise, cond)
        for _ in range(0 if s.is_clean else self.corrections):
            length = like(self.snr * s.sigma, x)
            x = x + 2 * length**2 * denoiser(x, s, cond).score + 2 * length * noise()
        return x, state
