"""No augmentation: the small image is not changed."""

import torch
from torch import Tensor

from fromnoise.augmentations.base import Augmentation
from fromnoise.registry import register


@register("none")
class NoAugmentation(Augmentation):
    """z' = z, the baseline for other augmentations."""

    most = 0.0

    def strength(self, u: Tensor) -> Tensor:
        return torch.zeros_like(u)

    def apply(self, z: Tensor, strength: Tensor, noise: Tensor) -> Tensor:
        return z
