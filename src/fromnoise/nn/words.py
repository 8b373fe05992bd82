"""Text inside a network: token numbers, or embeddings of a frozen model, become rows that positions attend to."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError, nearest
from fromnoise.nn.layers import attended


@dataclass(frozen=True)
class Words:
    """A batch of embedded texts.

    Attributes:
        rows: [N, 1 + L, W]: the vector of the whole text, then those of its tokens.
        mask: [N, 1 + L], True for existing rows. The first row always exists, so that there is something to attend to.
    """

    rows: Tensor
    mask: Tensor


_LONGEST = 2**16
"""Most tokens of a text. The memory check of the weights does not bound the rows of the empty text."""


class _Block(nn.Module):
    """h <- h + attention(norm(h)); y = h + W_2 gelu(W_1 norm(h)): [N, T, W]; attends to the rows in the mask."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        h = h + self.mix(attended(self.qkv(self.norm1(h)), self.heads, mask))
        return h + self.mlp(self.norm2(h))


class TextInput(nn.Module):
    """The condition `text` -> `Words`, from token numbers or from embeddings.

    With a vocabulary, texts are token numbers [N, L], padded with 0. A small transformer, which is trained with the
    network, reads them behind one extra row for the whole text (GLIDE, arXiv 2112.10741; latent diffusion, arXiv
    2112.10752). Without a vocabulary, texts are embeddings [N, 1 + L, width] of a frozen model, the whole text's first,
    padded with zeros; they are normalised, and a learned row stands for "no text" (Imagen, arXiv 2205.11487).

    In both forms, "no text" is all zeros: see `none`.

    Args:
        width: W, the width of the transformer's rows or of the embeddings.
        length: L, the largest number of tokens of a text.
        vocabulary: number of token numbers, including 0; None for embeddings.
        depth, heads: number of blocks and attention heads of the transformer.

    Raises:
        FromNoiseError: an option is below 1, the length is above 65,536, or the heads do not divide the width.
    """

    def __init__(self, width: int, length: int, vocabulary: int | None = None, depth: int = 2, heads: int = 4):
        super().__init__()
        numbers = (width, length, depth, heads, 1 if vocabulary is None else vocabulary)
        if not all(type(number) is int for number in numbers) or min(numbers) < 1 or width % heads:
            raise FromNoiseError("text: width, length, vocabulary, depth and heads must be whole numbers from 1 "
                                 f"on, and the heads divide the width; got {width}, {length}, {vocabulary}, {depth} "
                                 f"and {heads}")  # fmt: skip
        if length > _LONGEST:
            raise FromNoiseError(f"text: length must be at most {_LONGEST:,}, got {length:,}")
        self.width, self.length, self.vocabulary = width, length, vocabulary
        self.whole = nn.Parameter(0.02 * torch.randn(width))
        self.norm = nn.LayerNorm(width)
        if vocabulary is not None:
            self.token = nn.Embedding(vocabulary, width)
            nn.init.normal_(self.token.weight, std=0.02)
            self.place = nn.Parameter(0.02 * torch.randn(length, width))
            self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))

    @property
    def none(self) -> Tensor:
        """The condition that stands for "no text", without a batch axis."""
        if self.vocabulary is not None:
            return torch.zeros(self.length, dtype=torch.long)
        return torch.zeros(1 + self.length, self.width)

    def forward(self, text: Tensor) -> Words:
        self._check(text)
        if self.vocabulary is None:
            mask = (text != 0).any(2)
            rows = self.norm(text.to(self.whole.dtype))
            first = torch.where(mask[:, :1], rows[:, 0], self.whole)
            return Words(torch.cat([first[:, None], rows[:, 1:]], 1), F.pad(mask[:, 1:], (1, 0), value=True))
        rows = self.token(text) + self.place[: text.shape[1]]
        mask = F.pad(text > 0, (1, 0), value=True)
        rows = torch.cat([self.whole.expand(text.shape[0], 1, -1).to(rows.dtype), rows], 1)
        for block in self.blocks:
            rows = block(rows, mask)
        return Words(self.norm(rows), mask)

    def _check(self, text: Tensor) -> None:
        """Raise a clear FromNoiseError instead of an error from the layers below."""
        if self.vocabulary is None:
            fits = text.dim() == 3 and text.is_floating_point() and text.shape[2] == self.width
            wanted = f"embeddings [N, 1 + L, {self.width}]"
        else:
            fits = text.dim() == 2 and text.dtype in (torch.int64, torch.int32) and text.shape[1] <= self.length
            wanted = f"token numbers [N, L], L at most {self.length}"
        if not fits:
            raise FromNoiseError(f"text must be {wanted}, as the encoder gives them; got {text.dtype} "
                                 f"{list(text.shape)}")  # fmt: skip


def text_input(options: Mapping[str, int]) -> TextInput:
    """Build a `TextInput` from its options.

    Raises:
        FromNoiseError: an option is unknown, missing or invalid.
    """
    known = inspect.signature(TextInput).parameters
    for name in options:
        if name not in known:
            raise FromNoiseError(f"text: no option {name!r}{nearest(name, known)}; there is {', '.join(known)}")
    missing = [name for name, one in known.items() if one.default is one.empty and name not in options]
    if missing:
        raise FromNoiseError(f"text: {' and '.join(missing)} missing: take the options of an encoder of fromnoise.text")
    return TextInput(**options)


class CrossAttention(nn.Module):
    """W_o softmax(q k' / sqrt(d)) v, q from the positions, k and v from the text: [N, T, C], `Words` -> [N, T, C].

    Args:
        channels: C.
        words: width of the text's rows.
        heads: attention heads.
        bias: whether the projections to q, k and v have a bias.
    """

    def __init__(self, channels: int, words: int, heads: int, bias: bool = True):
        super().__init__()
        self.heads = heads
        self.q, self.kv = nn.Linear(channels, channels, bias), nn.Linear(words, 2 * channels, bias)
        self.out = nn.Linear(channels, channels)

    def forward(self, h: Tensor, words: Words) -> Tensor:
        n, places, c = h.shape
        q = self.q(h).view(n, places, self.heads, -1).transpose(1, 2)
        k, v = self.kv(words.rows).view(n, -1, 2, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, words.mask[:, None, None])
        return self.out(y.transpose(1, 2).reshape(n, places, c))
