"""Sliced score matching: the trace is estimated along one random direction."""

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


@register("sliced")
@dataclass(frozen=True)
class Sliced(Objective):
    """L = sigma_t^2 (v' grad_x(v' s(x_t)) + |s(x_t)|^2 / 2), v ~ N(0, I): one backward pass for any D.

    Source: Song et al. 2019; Sedykh eq. 3.12-3.13.

    Args:
        reduced: use |s|^2 as written, which has the smaller variance; otherwise (v' s)^2.
    """

    second_order: ClassVar[bool] = True

    draws: ClassVar[int] = 2
    reduced: bool = True

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        t: Level,
        noise: Tensor,
        cond: Cond | None = None,
        chain: Chain | None = None,
    ) -> dict[str, Tensor]:
        v = noise[:, 1].flatten(1)
        with torch.enable_grad():
            x, score = score_at(denoiser, x0, t, noise[:, 0], cond)
            along = (v * score).sum(1)
            curvature = (v * gradient(along, x)).sum(1)
        size = score.square().sum(1) if self.reduced else along.square()
        return {"loss": like(t.sigma**2, size) * (curvature + size / 2)}
