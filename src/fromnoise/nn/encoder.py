"""The downward path and the middle of a U-Net, which the noisy classifier uses as well."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

from torch import Tensor, nn

from fromnoise.nn.conditioning import Conditioned
from fromnoise.nn.layers import NEAREST_UP, STRIDED_DOWN, NoAttention, ResidualBlock, SelfAttention, double, half
from fromnoise.nn.spatial import CONV, CONV_TRANSPOSE
from fromnoise.nn.spatial_transformer import SpatialTransformer
from fromnoise.nn.words import Words

Resize = Callable[[Tensor], Tensor]
Resampler = Callable[[int, int], nn.Module]
Resample = Literal["ddpm", "centered", "residual", "projected", "4x4"]
TextAttention = Literal["joint", "after"]


@dataclass(frozen=True)
class Parts:
    """The options that all blocks of a network share.

    The fields are the options of `UNet`; `width` is the width of emb, and `words` the width of the text's rows.
    """

    width: int
    attention: tuple[int, ...]
    heads: int
    head_channels: int | None
    groups: int
    eps: float
    dropout: float
    scale_shift: bool
    resample: Resample
    dims: int
    skip_scale: float = 1.0
    group_channels: int | None = None
    words: int | None = None
    text_attention: TextAttention = "joint"

    def block(self, c_in: int, c_out: int, resize: Resize | None = None) -> ResidualBlock:
        options = (self.width, self.groups, self.eps, self.dropout, self.scale_shift)
        more = (self.skip_scale, self.group_channels, self.resample == "projected")
        return ResidualBlock(c_in, c_out, *options, resize, self.dims, *more)

    def attention_of(self, c: int) -> nn.Module:
        heads = c // self.head_channels if self.head_channels else self.heads
        if self.words and self.text_attention == "after":
            return SpatialTransformer(c, heads, self.groups, 1e-6, self.words, self.group_channels)
        return SelfAttention(c, heads, self.groups, self.eps, self.skip_scale, self.group_channels, self.words)

    def attend(self, c: int, factor: int) -> nn.Module:
        """Attention if the down-sampling factor is in `attention`, otherwise none."""
        return self.attention_of(c) if factor in self.attention else NoAttention()

    def resamplers(self) -> tuple[Resampler, Resampler]:
        """(down, up): the constructors of the layers between levels."""
        conv, transposed, nearest = CONV[self.dims], CONV_TRANSPOSE[self.dims], NEAREST_UP[self.dims]
        inside = (partial(self.block, resize=half), partial(self.block, resize=double))
        every: dict[str, tuple[Resampler, Resampler]] = {
            "ddpm": (STRIDED_DOWN[self.dims], nearest),
            "centered": (partial(conv, kernel_size=3, stride=2, padding=1), nearest),
            "residual": inside,
            "projected": inside,
            "4x4": (
                partial(conv, kernel_size=4, stride=2, padding=1),
                partial(transposed, kernel_size=4, stride=2, padding=1),
            ),
        }
        return every[self.resample]

    @property
    def resampling_widens(self) -> bool:
        """Whether the layer between two levels also changes the width."""
        return self.resample == "4x4"


class Level(nn.Module):
    """The blocks of one resolution, and the change to the next resolution, if there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.attention = nn.ModuleList(), nn.ModuleList()
        self.resample: nn.Module | None = None

    def resized(self, h: Tensor, emb: Tensor) -> Tensor:
        """h at the resolution of the next level."""
        assert self.resample is not None
        return self.resample(h, emb) if isinstance(self.resample, ResidualBlock) else self.resample(h)

    def units(self) -> Iterator[tuple[nn.Module, nn.Module]]:
        """The pairs (residual block, attention) in order."""
        return zip(self.blocks, self.attention, strict=True)


def levels(modules: nn.ModuleList) -> list[Level]:
    """The modules as a list of levels, for the type checker."""
    return cast("list[Level]", list(modules))


class Encoder(nn.Module):
    """A stem, levels of blocks that halve every side, and two blocks in the middle; emb comes from outside."""

    stem: nn.Conv1d | nn.Conv2d | nn.Conv3d
    down: nn.ModuleList
    mid: nn.ModuleList
    mid_attention: nn.Module

    def _build_down(
        self,
        in_channels: int,
        widths: Sequence[int],
        blocks: int,
        parts: Parts,
        mid_attention: bool,
        stem: int | None = None,
    ) -> list[int]:
        """Make the layers; return the widths of the feature maps for the skip connections, in order."""
        stem = stem or widths[0]
        self.stem = CONV[parts.dims](in_channels, stem, 3, padding=1)
        down, _ = parts.resamplers()
        self.down = nn.ModuleList()
        c, joined = stem, [stem]
        for i, width in enumerate(widths):
            level = Level()
            for _ in range(blocks):
                level.blocks.append(parts.block(c, width))
                level.attention.append(parts.attend(width, 2**i))
                c = width
                joined.append(c)
            if i + 1 < len(widths):
                after = widths[i + 1] if parts.resampling_widens else c
                level.resample = down(c, after)
                c = after
                joined.append(c)
            self.down.append(level)
        self.mid = nn.ModuleList([parts.block(c, c), parts.block(c, c)])
        self.mid_attention = parts.attention_of(c) if mid_attention else NoAttention()
        return joined

    def walk_down(
        self, x: Tensor, emb: Tensor, every: bool, words: Words | None = None, hint: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """(the output of the middle, the feature maps for the skip connections).

        Args:
            every: whether to return every feature map, or only the last one of every level but the lowest.
            hint: a tensor that is added to the output of the stem.
        """
        h = self.stem(x)
        if hint is not None:
            h = h + hint
        kept = [h] if every else []
        for level in levels(self.down):
            for block, attention in level.units():
                h = attention(block(h, emb), words)
                if every:
                    kept.append(h)
            if level.resample is not None:
                if not every:
                    kept.append(h)
                h = level.resized(h, emb)
                if every:
                    kept.append(h)
        return self.mid[1](self.mid_attention(self.mid[0](h, emb), words), emb), kept


class UNetEncoder(Encoder, Conditioned):
    """An `Encoder` that embeds the time and the other conditions itself."""
