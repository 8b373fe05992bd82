"""SDE-DPM-Solver++(2M): the reverse SDE with x0hat extrapolated from the previous step."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level, like
from fromnoise.registry import register
from fromnoise.samplers.base import Noise, Sampler
from fromnoise.samplers.dpm_solver import extrapolated


@register("dpm-solver-sde")
@dataclass(frozen=True)
class DPMSolverSDE(Sampler):
    """x_s = (sigma_s / sigma_t) e^(-h) x_t + alpha_s (1 - e^(-2h)) D + sigma_s sqrt(1 - e^(-2h)) z.

    D and h are those of `dpm-solver`. With D = x0hat_t this is the ancestral step with the small variance; the
    extrapolation improves samples with few steps. No order is declared, because the extrapolation depends on the noise
    of earlier steps. Source: Lu et al. 2022 (DPM-Solver++), appendix D.
    """

    order: ClassVar[int | None] = None
    default_spacing: ClassVar[str] = "log-snr"

    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        x0 = denoiser(x, t, cond).x0
        if s.is_clean:
            return x0, None
        h = (s.log_snr - t.log_snr) / 2
        share = -torch.expm1(-2 * h)
        kept = like(s.sigma / t.sigma * torch.exp(-h), x) * x
        moved = kept + like(s.alpha * share, x) * extrapolated(x0, h, state)
        return moved + like(s.sigma * share.sqrt(), x) * noise(), (x0, h)
