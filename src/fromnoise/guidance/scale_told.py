"""A guided student at one scale."""

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level
from fromnoise.guidance.base import Wrapper
from fromnoise.parameterizations.prediction import Prediction


class ScaleTold(Wrapper):
    """x0hat(x_t, t, c) -> x0hat(x_t, t, c, g): one call, where classifier-free guidance needs two.

    Args:
        denoiser: whose student is `students.Guided`, or any that takes the condition `guidance`.
        scale: g; 1 is no guidance.
    """

    def __init__(self, denoiser: Denoiser, scale: float):
        super().__init__(denoiser)
        self.scale = scale

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        return self.inner(x_t, t, (cond or {}) | {"guidance": x_t.new_full((len(x_t),), self.scale)})
