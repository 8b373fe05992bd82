"""Score matching with the exact trace: needs no true score, but one backward pass per dimension."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level, like
from fromnoise.objectives.base import Objective
from fromnoise.objectives.score_matching import gradient, score_at
from fromnoise.registry import register
from fromnoise.schedules.base import Chain


@register("exact")
@dataclass(frozen=True)
class Exact(Objective):
    """L = sigma_t^2 (tr(grad_x s(x_t)) + |s(x_t)|^2 / 2).

    Without the factor sigma_t^2, which makes the levels comparable, its expectation is the Fisher divergence
    E|s - grad log q(x_t)|^2 / 2 at the level t minus a constant of the data (Hyvarinen 2005; Sedykh eq. 3.8-3.10). The
    cost grows with the number of dimensions D: for images use "denoising".
    """

    second_order: ClassVar[bool] = True

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        t: Level,
        noise: Tensor,
        cond: Cond | None = None,
        chain: Chain | None = None,
    ) -> dict[str, Tensor]:
        with torch.enable_grad():
            x, score = score_at(denoiser, x0, t, noise, cond)
            trace = torch.stack([gradient(score[:, i], x)[:, i] for i in range(score.shape[1])]).sum(0)
        return {"loss": like(t.sigma**2, trace) * (trace + score.square().sum(1) / 2)}
