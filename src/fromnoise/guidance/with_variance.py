"""A model with another reverse variance."""

from typing import ClassVar

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level
from fromnoise.guidance.base import Wrapper
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.variances.base import Variance


class WithVariance(Wrapper):
    """p(x_s | x_t) with the mean of `denoiser` and another variance, to compare variances on one checkpoint.

    A learned variance stays in the prediction, but a fixed variance does not use it.
    """

    guides: ClassVar[bool] = False

    def __init__(self, denoiser: Denoiser, variance: Variance):
        super().__init__(denoiser)
        self.variance = variance

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        return self.inner(x_t, t, cond)
