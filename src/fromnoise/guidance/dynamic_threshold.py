"""Dynamic thresholding: strong guidance without washed-out images."""

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, like
from fromnoise.guidance.base import Wrapper
from fromnoise.parameterizations.prediction import Prediction


class DynamicThreshold(Wrapper):
    """x0hat -> clamp(x0hat, -s, s) / s at every step, s = max(1, percentile of |x0hat|) for each example.

    Strong guidance drives values out of [-1, 1]. Clipping saturates them, while this scales them back into the range.
    For data in [-1, 1]. Source: Saharia et al. 2022 (Imagen, arXiv 2205.11487), section 2.3.

    Args:
        denoiser: the model, wrapped in its guidance.
        percentile: percentile over all elements of an example, from 0 to 100, interpolated linearly.

    Raises:
        FromNoiseError: the percentile is outside [0, 100].
    """

    def __init__(self, denoiser: Denoiser, percentile: float = 99.5):
        super().__init__(denoiser)
        if not 0 <= percentile <= 100:
            raise FromNoiseError(f"the percentile of dynamic thresholding must lie in [0, 100], got {percentile:g}")
        self.percentile = percentile

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        p = self.inner(x_t, t, cond)
        rising = p.x0.abs().flatten(1).sort(1).values  # torch.quantile takes no more than 16 million numbers
        place = self.percentile / 100 * (rising.shape[1] - 1)
        low = int(place)
        high = min(low + 1, rising.shape[1] - 1)
        s = like(torch.lerp(rising[:, low], rising[:, high], place - low).clamp_min(1), p.x0)
        return p.with_x0(torch.maximum(torch.minimum(p.x0, s), -s) / s)
