"""Gaussian blur of the small image."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.augmentations.base import Augmentation
from fromnoise.errors import FromNoiseError
from fromnoise.nn.spatial import CONVOLVED
from fromnoise.registry import register

_REACH = 3  # pixels to each side: three standard deviations of the widest blur


@register("blur")
class Blur(Augmentation):
    """z' = z * N(0, s^2), a convolution, with the strength s in pixels of z; only a share of the examples is blurred.

    Borders are padded with their own values, so a flat image is not changed. Source: Ho et al. 2021, section 4.1, for
    stages above 128 pixels: half of the examples, s between 0.4 and 0.6.

    Args:
        share: fraction of the examples that are blurred, in (0, 1].
        low, high: range of s in training, 0 < low <= high <= 1.

    Raises:
        FromNoiseError: a value is out of range.
    """

    def __init__(self, share: float = 0.5, low: float = 0.4, high: float = 0.6):
        if not (0 < share <= 1 and 0 < low <= high <= 1):
            raise FromNoiseError(f"0 < share <= 1 and 0 < low <= high <= 1 are needed, got {share}, {low} and {high}")
        self.share, self.low, self.high = share, low, high
        self.most = high

    def strength(self, u: Tensor) -> Tensor:
        place = (u - (1 - self.share)) / self.share  # in [0, 1) for those that are blurred
        return torch.where(place < 0, 0.0, self.low + place * (self.high - self.low))

    def apply(self, z: Tensor, strength: Tensor, noise: Tensor) -> Tensor:
        n, c, *size = z.shape
        offset = torch.arange(-_REACH, _REACH + 1, dtype=torch.float64)
        width = strength.double().cpu().clamp_min(1e-3)[:, None]
        kernel = torch.softmax(-(offset**2) / (2 * width**2), 1).to(z)  # [n, 2 reach + 1], one for each example
        kernel = kernel.repeat_interleave(c, 0)
        x = F.pad(z, (_REACH,) * 2 * len(size), mode="replicate").flatten(0, 1)[None]
        for axis in range(len(size)):  # one axis after the other: the kernel is separable
            shape = [-1 if i == axis else 1 for i in range(len(size))]
            x = CONVOLVED[len(size)](x, kernel.view(n * c, 1, *shape), groups=n * c)
        return x.view(z.shape)
