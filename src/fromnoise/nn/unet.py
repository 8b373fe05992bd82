"""The U-Net of DDPM and of the thesis, one class."""

from collections.abc import Callable, Iterator
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.nn._layers import (
    CenteredDown,
    NearestUp,
    ResidualBlock,
    SelfAttention,
    StridedDown,
    StridedDown4,
    TransposedUp4,
    check_size,
    double,
    half,
    init_identity,
    sinusoidal,
    zeroed,
)
from fromnoise.nn._norm import GroupNormSiLU
from fromnoise.registry import register

Resize = Callable[[Tensor], Tensor]
Resampler = Callable[[int, int], nn.Module]


class _Level(nn.Module):
    """The blocks of one resolution, and the step to the next where there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.attention = nn.ModuleList(), nn.ModuleList()
        self.resample: nn.Module | None = None

    def resized(self, h: Tensor, emb: Tensor) -> Tensor:
        """At the resolution of the next level."""
        assert self.resample is not None
        return self.resample(h, emb) if isinstance(self.resample, ResidualBlock) else self.resample(h)

    def units(self) -> Iterator[tuple[nn.Module, nn.Module]]:
        """(residual block, attention) in order."""
        return zip(self.blocks, self.attention, strict=True)


def _levels(modules: nn.ModuleList) -> list[_Level]:
    return cast("list[_Level]", list(modules))


@register("unet")
class UNet(nn.Module):
    """F(x, t): [N, in_channels, H, W], [N] -> [N, out_channels, H, W].

    The defaults are DDPM's network for CIFAR-10 (35,746,307 parameters; Sedykh 2.2.3). With
    `resample="4x4", skips="levels", mult=(1, 2, 4, 8), blocks=1, attention=(), mid_attention=False`
    it is the thesis' network for MNIST (7,339,297 parameters; Sedykh 6).

    Args:
        in_channels: channels of the image.
        out_channels: channels of the output; None means those of the image.
        channels: width of the first level.
        mult: width of each level in units of `channels`; every further level halves the image.
        blocks: residual blocks in each level on the way down (one more on the way up with skips="blocks").
        attention: down-sampling factors with self-attention: 2 is 16x16 for images of 32x32.
        mid_attention: self-attention between the two blocks in the middle.
        heads: attention heads.
        head_channels: width of a head, in place of their number.
        groups, eps: group normalisation.
        dropout: probability, in every residual block.
        time_features: width of the sinusoidal embedding; None means `channels`.
        time_width: width of the time vector after its two layers; None means 4 `channels`.
        time_endpoint: whether the lowest frequency is exactly 1/10000 (DDPM) or one step short of it.
        resample: "ddpm" is a strided 3x3 convolution down, and nearest + 3x3 up; "centered" the same with padding on
            every side (improved DDPM); "residual" a residual block that averages or repeats pixels (ADM); "4x4" is a
            strided 4x4 convolution down and a transposed one up, which also change the width.
        skips: "blocks" joins every block of the way down to one of the way up; "levels" joins only the
            last feature map of each level, after up-sampling.
        scale_shift: the time vector scales and shifts each block's second norm (improved DDPM, ADM).
        classes: number of labels, for a network that is told one: F(x, t, label), label [N] in 0..classes - 1.
        null_label: whether there is one label more, number `classes`, that stands for none: what classifier-free
            guidance needs, and what a call without a label means. The attribute of that name is its number, or None.
        patch: pixels are first folded into channels in squares of this side (1 leaves the image alone).

    Raises:
        FromNoiseError: in `forward`, when a side is not divisible by `patch` times the down-sampling.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int | None = None,
        channels: int = 128,
        mult: tuple[int, ...] = (1, 2, 2, 2),
        blocks: int = 2,
        attention: tuple[int, ...] = (2,),
        mid_attention: bool = True,
        heads: int = 1,
        groups: int = 32,
        eps: float = 1e-6,
        dropout: float = 0.0,
        time_features: int | None = None,
        time_width: int | None = None,
        time_endpoint: bool = True,
        head_channels: int | None = None,
        resample: Literal["ddpm", "centered", "residual", "4x4"] = "ddpm",
        skips: Literal["blocks", "levels"] = "blocks",
        scale_shift: bool = False,
        classes: int | None = None,
        null_label: bool = False,
        patch: int = 1,
    ):
        super().__init__()
        self.patch, self.factor = patch, patch * 2 ** (len(mult) - 1)
        self.time_features, self.time_endpoint = time_features or channels, time_endpoint
        self.skip_blocks = skips == "blocks"
        emb = time_width or 4 * channels
        widths = [channels * m for m in mult]

        def block(c_in: int, c_out: int, resize: Resize | None = None) -> ResidualBlock:
            return ResidualBlock(c_in, c_out, emb, groups, eps, dropout, scale_shift, resize)

        def attention_of(c: int) -> SelfAttention:
            return SelfAttention(c, c // head_channels if head_channels else heads, groups, eps)

        def attend(c: int, factor: int) -> nn.Module:
            return attention_of(c) if factor in attention else nn.Identity()

        resamplers: dict[str, tuple[Resampler, Resampler]] = {
            "ddpm": (StridedDown, NearestUp),
            "centered": (CenteredDown, NearestUp),
            "residual": (lambda a, b: block(a, b, half), lambda a, b: block(a, b, double)),
            "4x4": (StridedDown4, TransposedUp4),
        }
        down, up = resamplers[resample]
        changes_width = resample == "4x4"

        self.time = nn.Sequential(nn.Linear(self.time_features, emb), nn.SiLU(), nn.Linear(emb, emb), nn.SiLU())
        self.classes, self.null_label = classes, classes if null_label else None
        self.label = nn.Embedding(classes + null_label, emb) if classes else None
        self.stem = nn.Conv2d(in_channels * patch**2, widths[0], 3, padding=1)

        self.down = nn.ModuleList()
        c, joined = widths[0], [widths[0]]  # joined: widths of the maps that the way up will be given
        for i, width in enumerate(widths):
            level = _Level()
            for _ in range(blocks):
                level.blocks.append(block(c, width))
                level.attention.append(attend(width, 2**i))
                c = width
                joined.append(c)
            if i + 1 < len(widths):
                after = widths[i + 1] if changes_width else c
                level.resample = down(c, after)
                c = after
                joined.append(c)
            self.down.append(level)

        self.mid = nn.ModuleList([block(c, c), block(c, c)])
        self.mid_attention = attention_of(c) if mid_attention else nn.Identity()

        self.up = nn.ModuleList()
        for i, width in reversed(list(enumerate(widths))):
            level = _Level()
            for j in range(blocks + self.skip_blocks):
                if self.skip_blocks:
                    c += joined.pop()
                elif j == 0 and i + 1 < len(widths):
                    c += width
                level.blocks.append(block(c, width))
                level.attention.append(attend(width, 2**i))
                c = width
            if i > 0:
                after = widths[i - 1] if changes_width else c
                level.resample = up(c, after)
                c = after
            self.up.append(level)

        self.norm = GroupNormSiLU(groups, c, eps)
        self.out = nn.Conv2d(c, (out_channels or in_channels) * patch**2, 3, padding=1)

        init_identity(self)
        zeroed(self.out)

    def check_size(self, size: tuple[int, ...] | torch.Size) -> None:
        """Raises FromNoiseError, with a size that fits, where a side is not a multiple of the down-sampling."""
        check_size(size, self.factor)

    def _embed(self, features: Tensor, label: Tensor | None) -> Tensor:
        """The time vector, with the label's added before its last SiLU."""
        if label is None and self.null_label is not None:
            label = torch.full((len(features),), self.null_label, device=features.device)
        if (self.label is None) != (label is None):
            raise FromNoiseError("this network needs a label" if label is None else "this network knows no labels")
        if self.label is None or label is None:
            return self.time(features)
        return F.silu(self.time[:3](features) + self.label(label))

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        self.check_size(x.shape[-2:])
        emb = self._embed(sinusoidal(time, self.time_features, self.time_endpoint).to(self.stem.weight.dtype), label)
        if self.patch > 1:
            x = F.pixel_unshuffle(x, self.patch)
        h = self.stem(x)
        skips = [h] if self.skip_blocks else []
        for level in _levels(self.down):
            for block, attention in level.units():
                h = attention(block(h, emb))
                if self.skip_blocks:
                    skips.append(h)
            if level.resample is not None:
                if not self.skip_blocks:
                    skips.append(h)
                h = level.resized(h, emb)
                if self.skip_blocks:
                    skips.append(h)
        h = self.mid[1](self.mid_attention(self.mid[0](h, emb)), emb)
        for depth, level in enumerate(_levels(self.up)):
            for j, (block, attention) in enumerate(level.units()):
                if self.skip_blocks or (j == 0 and depth > 0):
                    h = torch.cat([h, skips.pop()], 1)
                h = attention(block(h, emb))
            if level.resample is not None:
                h = level.resized(h, emb)
        h = self.out(self.norm(h))
        return F.pixel_shuffle(h, self.patch) if self.patch > 1 else h
