"""DPM-Solver++(2M): second order with one network call per step."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level, like
from fromnoise.registry import register
from fromnoise.samplers.base import Noise, Sampler


@register("dpm-solver")
@dataclass(frozen=True)
class DPMSolver(Sampler):
    """x_s = (sigma_s / sigma_t) x_t - alpha_s (e^(-h) - 1) D, h = lambda_s - lambda_t, lambda = log(alpha / sigma),

        D = x0hat_t + (x0hat_t - x0hat_before) h / (2 h_before)

    D extrapolates x0hat from the previous step. The first step and the step to the clean level use D = x0hat_t.
    Source: Lu et al. 2022 (DPM-Solver++), algorithm 2.
    """

    order: ClassVar[int | None] = 2
    default_spacing: ClassVar[str] = "log-snr"

    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        x0 = denoiser(x, t, cond).x0
        if s.is_clean:
            return x0, None
        h = (s.log_snr - t.log_snr) / 2
        guess = extrapolated(x0, h, state)
        moved = like(s.sigma / t.sigma, x) * x - like(s.alpha * torch.expm1(-h), x) * guess
        return moved, (x0, h)


def extrapolated(x0: Tensor, h: Tensor, state: Any) -> Tensor:
    """D: x0hat extrapolated linearly to half a step ahead from the previous step; x0hat itself in the first step."""
    if state is None:
        return x0
    before, h_before = state
    return x0 + like(h / (2 * h_before), x0) * (x0 - before)
