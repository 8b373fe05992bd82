"""Gaussian noise, as at a level of a diffusion."""

import math
from typing import ClassVar

from torch import Tensor

from fromnoise.augmentations.base import Augmentation
from fromnoise.gaussian import like
from fromnoise.registry import register


@register("noise")
class Noise(Augmentation):
    """z' = cos(pi s/2) z + sin(pi s/2) eps, s the strength: a state of the cosine path, as far as s on its way.

    Source: Ho et al. 2021, section 4.2, with the level given as an angle, which no schedule is needed to understand.

    Args:
        most: the largest strength in training, in (0, 1]; all up to it are equally likely.

    Raises:
        ValueError: `most` out of range.
    """

    is_noise: ClassVar[bool] = True

    def __init__(self, most: float = 0.5):
        if not 0 < most <= 1:
            raise ValueError(f"most must lie in (0, 1], got {most}")
        self.most = most

    def strength(self, u: Tensor) -> Tensor:
        return self.most * u

    def apply(self, z: Tensor, strength: Tensor, noise: Tensor) -> Tensor:
        angle = strength.double() * (math.pi / 2)
        return like(angle.cos(), z) * z + like(angle.sin(), z) * noise
