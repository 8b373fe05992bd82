"""The diffusion transformer, DiT, with adaLN-Zero blocks."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError, unknown
from fromnoise.nn.conditioning import Conditioned
from fromnoise.nn.layers import attended, init_fan_avg, zeroed
from fromnoise.nn.words import CrossAttention, Words
from fromnoise.registry import register

_SIZES = {"S": (12, 384, 6), "B": (12, 768, 12), "L": (24, 1024, 16), "XL": (28, 1152, 16)}  # depth, width, heads


def positions(rows: int, cols: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """[sin(x f), cos(x f), sin(y f), cos(y f)], f_i = 10000^(-4i/width), i = 0..width/4 - 1: [rows * cols, width].

    x is a patch's column and y its row, rows one after the other; float64.
    """
    quarter = width // 4
    place = torch.arange(max(rows, cols), dtype=torch.float64, device=device)
    frequency = 10000 ** (-torch.arange(quarter, dtype=torch.float64, device=device) / quarter)
    angle = place[:, None] * frequency
    along = torch.cat([angle.sin(), angle.cos()], 1)
    x, y = along[None, :cols].expand(rows, -1, -1), along[:rows, None].expand(-1, cols, -1)
    return torch.cat([x, y], 2).flatten(0, 1)


def _modulated(h: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """(1 + scale) norm(h) + shift: [N, T, width], [N, 1, width] twice."""
    return torch.addcmul(shift, F.layer_norm(h, h.shape[-1:], eps=eps), 1 + scale)


class Block(nn.Module):
    """h <- h + g_1 attention((1 + s_1) norm(h) + b_1); y = h + g_2 mlp((1 + s_2) norm(h) + b_2).

    h, y: [N, T, width], emb: [N, width] (already through SiLU); b_1, s_1, g_1, b_2, s_2, g_2 = W emb, where W starts at
    zero (adaLN-Zero), so that a fresh block is the identity. In a
    text-conditional network h + cross(norm(h), words) stands between the two; its last layer starts at zero too
    (PixArt-alpha, arXiv 2310.00426).
    """

    def __init__(self, width: int, heads: int, eps: float, mlp_eps: float, words: int | None = None):
        super().__init__()
        self.heads, self.eps, self.mlp_eps = heads, eps, mlp_eps
        self.modulation = nn.Linear(width, 6 * width)
        self.qkv = nn.Linear(width, 3 * width)
        self.cross = CrossAttention(width, words, heads) if words else None
        self.mix = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, emb: Tensor, words: Words | None = None) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(emb)[:, None].chunk(6, 2)
        seen = _modulated(h, shift1, scale1, self.eps)
        h = torch.addcmul(h, gate1, self.mix(attended(self.qkv(seen), self.heads)))
        if self.cross is not None and words is not None:
            h = h + self.cross(F.layer_norm(h, h.shape[-1:], eps=self.eps), words)
        return torch.addcmul(h, gate2, self.mlp(_modulated(h, shift2, scale2, self.mlp_eps)))


@register("dit")
class DiT(Conditioned):
    """F(x, t, label): [N, in_channels, H, W], [N], [N] -> [N, out_channels, H, W].

    Squares of `patch` x `patch` pixels are the tokens; a fixed vector of its place is added to each, so that images of
    any size that `patch` divides can be shown. A fresh network's output is zero.
    `DiT(in_channels=4, out_channels=8, size="XL", classes=1000, null_label=True)` is DiT-XL/2: 674,834,720 parameters,
    and 675,129,632 as their code counts, which holds the places of latents of 32x32 as parameters that are not trained.
    Source: Peebles and Xie 2023, and the initialisation of their code.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the output; None means those of the image.
        size: the published depth, width and heads: S 12, 384, 6; B 12, 768, 12; L 24, 1024, 16; XL 28, 1152, 16.
        depth: number of blocks; this and the next two go before `size`.
        width: of a token; divisible by `heads`, and by 4 for its place.
        heads: attention heads.
        patch: side of a token's square.
        time_features: width of the sinusoidal embedding of the time.
        time_endpoint: whether the lowest frequency is exactly 1/10000 (diffusers) or one step short of it (the paper's
            code).
        eps: layer normalisation.
        mlp_eps: that before the MLP of each block; None means `eps` (diffusers' files have 1e-5 there).
        classes: number of labels, for a network that is told one: F(x, time, label), label [N] in 0..classes - 1.
        null_label: whether there is one label more, number `classes`, that stands for none: what classifier-free
            guidance needs, and what a call without a label means. The attribute of that name is its number, or None.
        augment: whether it can be told how a training image was transformed: F(x, t, augment=), nine numbers [N, 9] as
            `data.Augment` gives them; a call without them means not at all.
        time_scale: factor on the time before its sinusoids: 0.001 for a network trained on times in [0, 1).
        numbers: further conditions of one number each, [N], that it can be given: "guidance", a guidance scale, and
            "span", the length of a step; distillation needs them. A fresh network is as one without.
        text: for a text-conditional network, F(x, t, text=): the options of `nn.words.TextInput`. The whole text is
            added to the time's vector, which modulates every block, and every block attends to its tokens.
        image_embedding: size of an image embedding, for the decoder of unCLIP: F(x, t, image_embedding=), [N, size];
            it is added to the time's vector, and a call without means none.

    Raises:
        FromNoiseError: no size is given, or an unknown one, or the width does not divide; in `forward`, when a side is
            not divisible by `patch`.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int | None = None,
        size: Literal["S", "B", "L", "XL"] | None = None,
        depth: int | None = None,
        width: int | None = None,
        heads: int | None = None,
        patch: int = 2,
        time_features: int = 256,
        time_endpoint: bool = False,
        eps: float = 1e-6,
        classes: int | None = None,
        null_label: bool = False,
        augment: bool = False,
        time_scale: float = 1.0,
        mlp_eps: float | None = None,
        numbers: tuple[str, ...] = (),
        text: dict[str, int] | None = None,
        image_embedding: int | None = None,
    ):
        if size is not None and size not in _SIZES:
            raise unknown("DiT size", size, _SIZES)
        published = _SIZES[size] if size else (None, None, None)
        depth, width, heads = (own or usual for own, usual in zip((depth, width, heads), published, strict=True))
        if depth is None or width is None or heads is None:
            raise FromNoiseError(f"a DiT needs a size ({', '.join(_SIZES)}), or depth, width and heads")
        if width % heads or width % 4:
            raise FromNoiseError(f"a DiT's width must be divisible by 4 and by its {heads} heads; {width} is not")
        super().__init__(patch, time_features, time_endpoint, width, classes, null_label, augment=augment,
                         time_scale=time_scale, numbers=numbers, text=text,
                         image_embedding=image_embedding)  # fmt: skip
        self.patch, self.eps, self.heads = patch, eps, heads
        self.stem = nn.Conv2d(in_channels, width, patch, stride=patch)
        mlp_eps, words = eps if mlp_eps is None else mlp_eps, self.text.width if self.text else None
        self.blocks = nn.ModuleList(Block(width, heads, eps, mlp_eps, words) for _ in range(depth))
        self.modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, (out_channels or in_channels) * patch**2)
        self._initialise()

    def _initialise(self) -> None:
        self.apply(init_fan_avg)
        nn.init.xavier_uniform_(self.stem.weight.flatten(1))  # as the linear layer on a patch that it is
        for module in (*self.time, self.label):
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        for module in self.modules():
            if isinstance(module, Block):
                zeroed(module.modulation)
                if module.cross is not None:
                    zeroed(module.cross.out)
        zeroed(self.modulation)
        zeroed(self.out)

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        label: Tensor | None = None,
        augment: Tensor | None = None,
        guidance: Tensor | None = None,
        span: Tensor | None = None,
        text: Tensor | None = None,
        image_embedding: Tensor | None = None,
    ) -> Tensor:
        self.check_size(x.shape[2:])
        n, rows, cols = x.shape[0], x.shape[2] // self.patch, x.shape[3] // self.patch
        words = self.words(text, n)
        emb = self.embedding(time, label, self.stem.weight.dtype, augment=augment,
                             numbers={"guidance": guidance, "span": span}, words=words,
                             image_embedding=image_embedding)  # fmt: skip
        h = self.stem(x).flatten(2).mT
        # Made where they are used: no call waits for an upload (Apple's GPU has no float64). In the weights' type:
        # under autocast the sum of the blocks stays float32.
        device = "cpu" if h.device.type == "mps" else h.device
        h = h + positions(rows, cols, h.shape[2], device).to(self.stem.weight)
        for block in self.blocks:
            h = block(h, emb, words)
        shift, scale = self.modulation(emb)[:, None].chunk(2, 2)
        h = self.out(_modulated(h, shift, scale, self.eps))
        squares = h.view(n, rows, cols, self.patch, self.patch, -1)
        return squares.permute(0, 5, 1, 3, 2, 4).reshape(n, -1, *x.shape[2:])
