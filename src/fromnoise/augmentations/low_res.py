"""The condition of a super-resolution model: a small image (signal, volume), enlarged to the model's size."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.augmentations import Augmentation
from fromnoise.nn.spatial import averaged


@dataclass(frozen=True)
class LowResolution:
    """The small image A x_0, whose pixels are means over squares of side `factor`: augmented, then enlarged again.

    Signals [B, C, L] and volumes [B, C, D, H, W] work the same way. Source: Ho et al. 2021 (cascaded diffusion),
    Saharia et al. 2021 (SR3); Sedykh 5.1.

    Args:
        factor: ratio of the sides of x_0 to those of the small image.
        augmentation: augmentation of the small image.
        tells: whether the strength of the augmentation is also a condition of the network; False in guided-diffusion.
    """

    factor: int
    augmentation: Augmentation
    tells: bool = True

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape (C, h, w) of the small image for a model of shape (C, H, W); likewise for signals and volumes."""
        return (shape[0], *(side // self.factor for side in shape[1:]))

    def shrunk(self, x0: Tensor) -> Tensor:
        """A x_0, rounded as in an 8-bit file: the training data of the previous stage. [B, C, *size], in [-1, 1].

        Raises:
            FromNoiseError: x_0 consists of points, which have no sides.
        """
        return rounded(averaged(x0, self.factor))

    def condition(self, z: Tensor, strength: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """The conditions of the network: "image" [B, C, *size] and, with `tells`, "strength" [B], times 1000.

        Args:
            z: the small image in [-1, 1].
            strength: strength of the augmentation, [B].
            noise: normal noise of the shape of z.
        """
        z = self.augmentation.apply(z, strength, noise)
        return self.enlarged(z, strength)

    def enlarged(self, z: Tensor, strength: Tensor) -> dict[str, Tensor]:
        """The conditions from a small image that is already augmented; see `condition`."""
        mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[z.dim()]
        image = F.interpolate(z.float(), scale_factor=float(self.factor), mode=mode, align_corners=False)
        return {"image": image} | ({"strength": (1000 * strength).float()} if self.tells else {})


def rounded(x: Tensor) -> Tensor:
    """x in [-1, 1], rounded to the nearest of 256 grey values."""
    return torch.round(127.5 * (x.clamp(-1, 1) + 1)) / 127.5 - 1
