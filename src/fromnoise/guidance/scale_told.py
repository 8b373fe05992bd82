"""A model distilled from guided predictions, at one guidance scale."""

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level
from fromnoise.guidance.base import Wrapper
from fromnoise.parameterizations.prediction import Prediction


class ScaleTold(Wrapper):
    """x0hat(x_t, t, c) -> x0hat(x_t, t, c, g): one network call instead of the two of classifier-free guidance.

    Args:
        denoiser: a model whose student is `students.Guided`, or any that takes the condition `guidance`.
        scale: g, the guidance scale; 1 is off.
    """

    def __init__(self, denoiser: Denoiser, scale: float):
        super().__init__(denoiser)
        self.scale = scale

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        return self.inner(x_t, t, (cond or {}) | {"guidance": x_t.new_full((len(x_t),), self.scale)})
