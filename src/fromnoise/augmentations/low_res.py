"""What a super-resolution model is told: a smaller image, brought to its own size."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.augmentations import Augmentation


@dataclass(frozen=True)
class LowResolution:
    """The small image A x_0, means over squares of `factor` pixels, augmented, and enlarged again by interpolation.

    Source: Ho et al. 2021 (cascaded diffusion), Saharia et al. 2021 (SR3); Sedykh 5.1.

    Args:
        factor: by which the sides are smaller.
        augmentation: of the small image.
    """

    factor: int
    augmentation: Augmentation

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(C, h, w) of the small image, for a model of (C, H, W)."""
        return shape[0], shape[1] // self.factor, shape[2] // self.factor

    def shrunk(self, x0: Tensor) -> Tensor:
        """A x_0, rounded as a file of 8 bits is: what the stage before is trained on. [B, C, H, W], in [-1, 1]."""
        return rounded(F.avg_pool2d(x0, self.factor))

    def condition(self, z: Tensor, strength: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """The condition of a network: "image" [B, C, H, W] and "strength" [B], 1000 times as large.

        Args:
            z: the small image in [-1, 1], or for strengths of noise a state of that level.
            strength: of the augmentation, [B].
            noise: normal numbers of the shape of z.
        """
        z = self.augmentation.apply(z, strength, noise)
        return self.enlarged(z, strength)

    def enlarged(self, z: Tensor, strength: Tensor) -> dict[str, Tensor]:
        """The same for an image that has its augmentation already."""
        image = F.interpolate(z.float(), scale_factor=float(self.factor), mode="bilinear", align_corners=False)
        return {"image": image, "strength": (1000 * strength).float()}


def rounded(x: Tensor) -> Tensor:
    """x in [-1, 1] at the nearest of 256 grey values."""
    return torch.round(127.5 * (x.clamp(-1, 1) + 1)) / 127.5 - 1
