"""Base class of conditioning augmentations."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class Augmentation(ABC):
    """z, strength -> z': with a random strength in training, and the best one in sampling.

    A super-resolution model is trained on real small images, but in a cascade it gets those drawn by another model.
    Degrading both makes them more alike. Source: Ho et al. 2021 (cascaded diffusion), section 4; Sedykh 5.1.
    """

    is_noise: ClassVar[bool] = False
    """Whether z' is a noisy state of a diffusion, at which the previous stage may stop ("truncated")."""

    most: float
    """The largest strength in training."""

    @abstractmethod
    def strength(self, u: Tensor) -> Tensor:
        """u, uniform in [0, 1) -> a strength in [0, 1], [B]; strength 0 leaves the image unchanged."""

    @abstractmethod
    def apply(self, z: Tensor, strength: Tensor, noise: Tensor) -> Tensor:
        """z' from images (signals, volumes) [B, C, *size], strengths [B], and normal noise of the shape of z."""
