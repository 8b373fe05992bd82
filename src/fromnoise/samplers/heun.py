"""Heun's method on the probability-flow ODE: second order, two network calls a step."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, like
from fromnoise.registry import register
from fromnoise.samplers._base import Noise, Sampler


@register("heun")
@dataclass(frozen=True)
class Heun(Sampler):
    """In y = x / alpha and r = sigma / alpha the flow is dy/dr = eps(x): an Euler step, then the mean of both slopes,

        y' = y_t + (r_s - r_t) eps_t,    y_s = y_t + (r_s - r_t) (eps_t + eps_s') / 2,

    eps_s' being that of x' = alpha_s y' at s. The step to the clean level is Euler's, which is DDIM's: one call less
    than two a step. Source: Karras et al. 2022, algorithm 1, whose x is y.

    Args:
        churn: noise added before each step and removed by it, as a share of r: r_t is raised to (1 + churn) r_t
            where the schedule reaches that far (algorithm 2's gamma); 0 is deterministic.

    Raises:
        FromNoiseError: churn negative.
    """

    order: ClassVar[int | None] = 2
    churn: float = 0.0

    def __post_init__(self) -> None:
        if self.churn < 0:
            raise FromNoiseError(f"sampler.churn must not be negative, got {self.churn}")

    def nfe(self, steps: int) -> int:
        return 2 * steps - 1

    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        if self.churn:
            x, t = self._raised(denoiser, x, t, noise)
        eps = denoiser(x, t, cond).eps
        y = x / like(t.alpha, x)
        gap = like(s.sigma / s.alpha - t.sigma / t.alpha, x)
        ahead = like(s.alpha, x) * (y + gap * eps)
        if s.is_clean:
            return ahead, state
        slope = (eps + denoiser(ahead, s, cond).eps) / 2
        return like(s.alpha, x) * (y + gap * slope), state

    def _raised(self, denoiser: Denoiser, x: Tensor, t: Level, noise: Noise) -> tuple[Tensor, Level]:
        """x at a level with more noise, within the schedule: the forward step to it."""
        top = denoiser.schedule.chain[0].log_snr
        wanted = (t.log_snr - 2 * torch.log1p(torch.tensor(self.churn, dtype=torch.float64))).clamp_min(top)
        if bool(wanted >= t.log_snr):
            return x, t
        higher = denoiser.schedule.at(wanted)
        added = torch.sqrt((higher.sigma / higher.alpha) ** 2 - (t.sigma / t.alpha) ** 2)
        y = x / like(t.alpha, x) + like(added, x) * noise()
        return like(higher.alpha, x) * y, higher
