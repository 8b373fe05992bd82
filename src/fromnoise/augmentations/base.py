"""What a conditioning augmentation is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class Augmentation(ABC):
    """z, strength -> z': in training with a random strength, in sampling with the one that serves best.

    The images that a cascade's model is trained with are real, and those that it is given are another model's: made
    worse on purpose, they are alike. Source: Ho et al. 2021 (cascaded diffusion), section 4; Sedykh 5.1.
    """

    is_noise: ClassVar[bool] = False
    """Whether z' is a state of a diffusion, so that the stage before may stop there ("truncated")."""

    most: float
    """The largest strength that training shows."""

    @abstractmethod
    def strength(self, u: Tensor) -> Tensor:
        """u, uniform in [0, 1) -> a strength in [0, 1], [B]; 0 leaves the image as it is."""

    @abstractmethod
    def apply(self, z: Tensor, strength: Tensor, noise: Tensor) -> Tensor:
        """z' from images [B, C, h, w], a strength [B], and normal numbers of the shape of z."""
