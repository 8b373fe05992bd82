"""PatchGAN discriminator: classifies every patch of an image as real or generated."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.nn.norm import GroupNormSiLU
from fromnoise.registry import register


@register("patch-discriminator")
class PatchDiscriminator(nn.Module):
    """D(x): [N, in_channels, H, W] -> logits [N, 1, h, w], h = H/2^layers - 2 (each side rounded down).

    Source: Isola et al. 2017. With three layers, the receptive field of a logit is 70x70 pixels. Group normalisation
    replaces the paper's batch normalisation, because batch statistics depend on gradient accumulation, on each
    process's share of the batch, and on whether a batch holds real images or reconstructions.

    Args:
        in_channels: channels of the image.
        channels: width of the first layer; each further layer doubles the width, up to 8 times the first.
        layers: how often the image is halved.
        groups: number of groups of the group normalisation.

    Raises:
        FromNoiseError: in `forward`, if a side is below 3 * 2^layers.
    """

    denoises: ClassVar[bool] = False

    def __init__(self, in_channels: int = 3, channels: int = 64, layers: int = 3, groups: int = 32):
        super().__init__()
        self.least = 3 * 2**layers
        widths = [channels * min(2**i, 8) for i in range(layers + 1)]
        parts: list[nn.Module] = [nn.Conv2d(in_channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for i in range(1, layers + 1):
            parts.append(nn.Conv2d(widths[i - 1], widths[i], 4, 2 if i < layers else 1, 1))
            parts += [GroupNormSiLU(groups, widths[i], silu=False), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        for module in self.body:
            if isinstance(module, nn.Conv2d) and module.bias is not None:  # the paper's initialisation
                nn.init.normal_(module.weight, 0, 0.02)
                nn.init.zeros_(module.bias)

    def check_size(self, size: tuple[int, ...] | torch.Size) -> None:
        """Raise FromNoiseError if a side is too small."""
        if min(size) < self.least:
            given = "x".join(map(str, size))
            raise FromNoiseError(f"images of {given} are too small: the discriminator needs sides of {self.least} or "
                                 "more; fewer layers need less")  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        self.check_size(x.shape[-2:])
        return self.body(x)
