"""Gaussian noise added to the small image, as at a level of a diffusion."""

import math
from typing import ClassVar

from torch import Tensor

from fromnoise.augmentations.base import Augmentation
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import like
from fromnoise.registry import register


@register("noise")
class Noise(Augmentation):
    """z' = cos(pi s/2) z + sin(pi s/2) eps, with the strength s: a state on the cosine path.

    Source: Ho et al. 2021, section 4.2, except that the level is given as an angle, independent of any schedule.

    Args:
        most: the largest strength in training, in (0, 1]; strengths from 0 to `most` are equally likely.

    Raises:
        FromNoiseError: `most` is out of range.
    """

    is_noise: ClassVar[bool] = True

    def __init__(self, most: float = 0.5):
        if not 0 < most <= 1:
            raise FromNoiseError(f"most must lie in (0, 1], got {most}")
        self.most = most

    def strength(self, u: Tensor) -> Tensor:
        return self.most * u

    def apply(self, z: Tensor, strength: Tensor, noise: Tensor) -> Tensor:
        angle = strength.double() * (math.pi / 2)
        return like(angle.cos(), z) * z + like(angle.sin(), z) * noise
