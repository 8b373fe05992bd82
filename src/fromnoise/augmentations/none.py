"""The image as it is."""

import torch
from torch import Tensor

from fromnoise.augmentations.base import Augmentation
from fromnoise.registry import register


@register("none")
class NoAugmentation(Augmentation):
    """z' = z: what a cascade is compared with."""

    most = 0.0

    def strength(self, u: Tensor) -> Tensor:
        return torch.zeros_like(u)

    def apply(self, z: Tensor, strength: Tensor, noise: Tensor) -> Tensor:
        return z
