"""Gaussian blur."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.augmentations.base import Augmentation
from fromnoise.registry import register

_REACH = 3  # pixels to each side: three deviations of the widest blur


@register("blur")
class Blur(Augmentation):
    """z' = z * N(0, s^2), s the strength in pixels of z; of the examples of a batch only a share is blurred.

    Source: Ho et al. 2021, section 4.1, for stages above 128 pixels: half of the examples, s between 0.4 and 0.6. The
    border is repeated outwards, so that a flat image stays as it is.

    Args:
        share: of examples, in (0, 1].
        low, high: the range of s in training, 0 < low <= high <= 1.

    Raises:
        ValueError: a value out of range.
    """

    def __init__(self, share: float = 0.5, low: float = 0.4, high: float = 0.6):
        if not (0 < share <= 1 and 0 < low <= high <= 1):
            raise ValueError(f"0 < share <= 1 and 0 < low <= high <= 1, got {share}, {low} and {high}")
        self.share, self.low, self.high = share, low, high
        self.most = high

    def strength(self, u: Tensor) -> Tensor:
        place = (u - (1 - self.share)) / self.share  # in [0, 1) for those that are blurred
        return torch.where(place < 0, 0.0, self.low + place * (self.high - self.low))

    def apply(self, z: Tensor, strength: Tensor, noise: Tensor) -> Tensor:
        n, c, h, w = z.shape
        offset = torch.arange(-_REACH, _REACH + 1, dtype=torch.float64)
        width = strength.double().cpu().clamp_min(1e-3)[:, None]
        kernel = torch.softmax(-(offset**2) / (2 * width**2), 1).to(z)  # [n, 2 reach + 1], one for each example
        kernel = kernel.repeat_interleave(c, 0)
        x = F.pad(z, (_REACH,) * 4, mode="replicate").reshape(1, n * c, h + 2 * _REACH, w + 2 * _REACH)
        x = F.conv2d(x, kernel[:, None, :, None], groups=n * c)
        return F.conv2d(x, kernel[:, None, None, :], groups=n * c).view(z.shape)
