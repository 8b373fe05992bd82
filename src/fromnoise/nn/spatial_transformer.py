"""The transformer block of latent diffusion: self-attention over positions, then cross-attention to the text."""

import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.nn.layers import attended, zeroed
from fromnoise.nn.norm import GroupNormSiLU
from fromnoise.nn.words import CrossAttention, Words


class SpatialTransformer(nn.Module):
    """h = W_i norm(x); h += self(norm(h)); h += cross(norm(h), text); h += mlp(norm(h)); y = x + W_o h.

    x, y: [N, C, *size]. The mlp is W_2 (a gelu(b)), a, b = W_1 h, with a and b of width 4 C. W_o starts at zero, so
    that a fresh block is the identity. Source: Rombach et al. 2022 (arXiv 2112.10752), appendix E.2.1, and its code.

    Args:
        channels: C.
        heads: attention heads.
        groups, eps: of the first normalisation; see `GroupNormSiLU`.
        words: width of the text's rows.
        group_channels: see `GroupNormSiLU`.

    Raises:
        FromNoiseError: the heads do not divide C.
    """

    def __init__(
        self, channels: int, heads: int, groups: int, eps: float, words: int, group_channels: int | None = None
    ):
        super().__init__()
        if channels % heads:
            raise FromNoiseError(f"{channels} channels do not divide into {heads} heads")
        self.heads = heads
        self.norm = GroupNormSiLU(groups, channels, eps, False, group_channels)
        self.stem, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.qkv, self.mix = nn.Linear(channels, 3 * channels, bias=False), nn.Linear(channels, channels)
        self.cross = CrossAttention(channels, words, heads, bias=False)
        self.inner, self.outer = nn.Linear(channels, 8 * channels), nn.Linear(4 * channels, channels)
        zeroed(self.out)

    def forward(self, x: Tensor, words: Words) -> Tensor:
        n, c, *size = x.shape
        first, second, third = self.norms
        h = self.stem(self.norm(x).movedim(1, -1).reshape(n, -1, c))
        h = h + self.mix(attended(self.qkv(first(h)), self.heads))
        h = h + self.cross(second(h), words)
        value, gate = self.inner(third(h)).chunk(2, 2)
        h = h + self.outer(value * F.gelu(gate))
        return x + self.out(h).view(n, *size, c).movedim(-1, 1)
