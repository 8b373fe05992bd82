"""The condition of a super-resolution model: a smaller image (signal, volume), brought to its own size."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.augmentations import Augmentation
from fromnoise.nn.spatial import averaged


@dataclass(frozen=True)
class LowResolution:
    """The small image A x_0, means over squares of `factor` pixels, augmented, and enlarged again by interpolation.

    Signals [B, C, L] and volumes [B, C, D, H, W] alike.

    Source: Ho et al. 2021 (cascaded diffusion), Saharia et al. 2021 (SR3); Sedykh 5.1.

    Args:
        factor: by which the sides are smaller.
        augmentation: of the small image.
        tells: whether the strength of the augmentation is a condition of the network too; not in guided-diffusion.
    """

    factor: int
    augmentation: Augmentation
    tells: bool = True

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(C, h, w) of the small image, for a model of (C, H, W); of signals and volumes alike."""
        return (shape[0], *(side // self.factor for side in shape[1:]))

    def shrunk(self, x0: Tensor) -> Tensor:
        """A x_0, rounded as a file of 8 bits is: what the stage before is trained on. [B, C, *size], in [-1, 1].

        Raises:
            FromNoiseError: x_0 has no sides: points have nothing to be enlarged.
        """
        return rounded(averaged(x0, self.factor))

    def condition(self, z: Tensor, strength: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """The condition of a network: "image" [B, C, *size], and "strength" [B], 1000 times as large, if it tells.

        Args:
            z: the small image in [-1, 1], or for strengths of noise a state of that level.
            strength: of the augmentation, [B].
            noise: normal numbers of the shape of z.
        """
        z = self.augmentation.apply(z, strength, noise)
        return self.enlarged(z, strength)

    def enlarged(self, z: Tensor, strength: Tensor) -> dict[str, Tensor]:
        """The same for an image that has its augmentation already."""
        mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[z.dim()]
        image = F.interpolate(z.float(), scale_factor=float(self.factor), mode=mode, align_corners=False)
        return {"image": image} | ({"strength": (1000 * strength).float()} if self.tells else {})


def rounded(x: Tensor) -> Tensor:
    """x in [-1, 1] at the nearest of 256 grey values."""
    return torch.round(127.5 * (x.clamp(-1, 1) + 1)) / 127.5 - 1
