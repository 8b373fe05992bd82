"""The encoder and the decoder that the image autoencoders of latent diffusion share.

They are made of residual blocks without a time embedding, as Esser et al. 2021 (VQGAN) and Rombach et al. 2022 build
them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from fromnoise.nn.layers import NearestUp, ResidualBlock, SelfAttention, StridedDown, init_identity
from fromnoise.nn.norm import GroupNormSiLU
from fromnoise.nn.spatial import check_size


@dataclass(frozen=True)
class Shape:
    """The options that an encoder and its decoder share.

    Args:
        in_channels: channels of the image.
        channels: width of the first level.
        mult: width of each level in units of `channels`; every further level halves the image.
        blocks: residual blocks in each level of the encoder (the decoder has one more).
        groups, eps: group normalisation.
        mid_attention: self-attention between the two blocks at the lowest resolution.
    """

    in_channels: int
    channels: int
    mult: tuple[int, ...]
    blocks: int
    groups: int
    eps: float
    mid_attention: bool

    @property
    def widths(self) -> list[int]:
        return [self.channels * m for m in self.mult]

    def block(self, c_in: int, c_out: int) -> ResidualBlock:
        return ResidualBlock(c_in, c_out, None, self.groups, self.eps)

    def level(self, before: int, width: int, count: int) -> list[nn.Module]:
        """At least one block, of which the first changes the width from `before` to `width`.

        They are made one by one, since `count` may come from an untrusted file.
        """
        return [self.block(width if i else before, width) for i in range(max(count, 1))]

    def middle(self) -> tuple[nn.ModuleList, nn.Module]:
        """(the two blocks, the attention or identity between them), at the lowest resolution."""
        c = self.widths[-1]
        attention = SelfAttention(c, 1, self.groups, self.eps) if self.mid_attention else nn.Identity()
        return nn.ModuleList([self.block(c, c), self.block(c, c)]), attention


class _Level(nn.Module):
    """The blocks of one resolution, and the change to the next resolution, if there is one."""

    def __init__(self, blocks: Sequence[nn.Module], resample: nn.Module | None):
        super().__init__()
        self.blocks, self.resample = nn.ModuleList(blocks), resample

    def forward(self, h: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h)
        return h if self.resample is None else self.resample(h)


class Encoder(nn.Module):
    """[N, in_channels, H, W] -> [N, outputs, H/f, W/f], f = 2^(len(mult) - 1)."""

    def __init__(self, shape: Shape, outputs: int):
        super().__init__()
        widths = shape.widths
        self.stem = nn.Conv2d(shape.in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            blocks = shape.level(widths[max(i - 1, 0)], width, shape.blocks)
            resample = StridedDown(width, width) if i + 1 < len(widths) else None
            self.down.append(_Level(blocks, resample))
        self.mid, self.mid_attention = shape.middle()
        self.norm = GroupNormSiLU(shape.groups, widths[-1], shape.eps)
        self.out = nn.Conv2d(widths[-1], outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for level in self.down:
            h = level(h)
        h = self.mid[1](self.mid_attention(self.mid[0](h)))
        return self.out(self.norm(h))


class Decoder(nn.Module):
    """[N, latent, h, w] -> [N, in_channels, f h, f w], f = 2^(len(mult) - 1)."""

    def __init__(self, shape: Shape, latent: int):
        super().__init__()
        widths = shape.widths[::-1]
        self.stem = nn.Conv2d(latent, widths[0], 3, padding=1)
        self.mid, self.mid_attention = shape.middle()
        self.up = nn.ModuleList()
        for i, width in enumerate(widths):
            blocks = shape.level(widths[max(i - 1, 0)], width, shape.blocks + 1)
            resample = NearestUp(width, width) if i + 1 < len(widths) else None
            self.up.append(_Level(blocks, resample))
        self.norm = GroupNormSiLU(shape.groups, widths[-1], shape.eps)
        self.out = nn.Conv2d(widths[-1], shape.in_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.stem(z)
        h = self.mid[1](self.mid_attention(self.mid[0](h)))
        for level in self.up:
            h = level(h)
        return self.out(self.norm(h))


class Autoencoder(nn.Module, ABC):
    """x -> z -> x: an encoder and a decoder, each with a 1x1 convolution on the side of the latents.

    Args:
        shape: the options that encoder and decoder share.
        latent: channels of the latents.
        outputs: output channels of the encoder.
    """

    denoises: ClassVar[bool] = False

    def __init__(self, shape: Shape, latent: int, outputs: int):
        super().__init__()
        self.in_channels, self.factor, self.latent_channels = shape.in_channels, 2 ** (len(shape.mult) - 1), latent
        self.encoder, self.decoder = Encoder(shape, outputs), Decoder(shape, latent)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(outputs, outputs, 1), nn.Conv2d(latent, latent, 1)
        init_identity(self)

    def check_size(self, size: tuple[int, ...] | torch.Size) -> None:
        """Raise FromNoiseError, naming a size that fits, if a side is not a multiple of `factor`."""
        check_size(size, self.factor)

    def latent_shape(self, shape: tuple[int, ...] | torch.Size) -> tuple[int, int, int]:
        """The shape (latent, H/f, W/f) of the latents of images of shape (C, H, W).

        Raises:
            FromNoiseError: a side is not a multiple of `factor`.
        """
        self.check_size(shape[1:])
        return self.latent_channels, shape[-2] // self.factor, shape[-1] // self.factor

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """z = E(x), without sampling: [N, in_channels, H, W] -> [N, latent, H/f, W/f]."""

    @abstractmethod
    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """(reconstructions shaped like x, the penalty on each example's latents [N]); noise: `latent_shape`."""

    def decode(self, z: Tensor) -> Tensor:
        """x = D(z): [N, latent, h, w] -> [N, in_channels, f h, f w]; values are not clipped."""
        return self.decoder(self.post_quant_conv(z))

    def _encoded(self, x: Tensor) -> Tensor:
        self.check_size(x.shape[2:])
        return self.quant_conv(self.encoder(x))
