"""Clipping the predicted x_0 to its range."""

from typing import ClassVar

from torch import Tensor

from fromnoise.denoise import Cond
from fromnoise.gaussian import Level
from fromnoise.guidance.base import Wrapper
from fromnoise.parameterizations.prediction import Prediction


class Clip(Wrapper):
    """x0hat -> clamp(x0hat, -1, 1) at every step, as in the reference code; eps follows from the clipped x0hat.

    For data in [-1, 1]; never for oracles or latents, whose values are not bounded. Source: DDPM's evaluation (FID 3.17
    is measured with it).
    """

    guides: ClassVar[bool] = False

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        p = self.inner(x_t, t, cond)
        return p.with_x0(p.x0.clamp(-1, 1))
