"""The diffusion transformer (DiT) with adaLN-Zero blocks."""

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

    x is a patch's column and y its row; patches are in row-major order. float64.
    """
    quarter = width // 4
    place = torch.arange(max(rows, cols), dtype=torch.float64, device=device)
    frequency = 10000 ** (-torch.arange(quarter, dtype=torch.float64, device=device) / quarter)
    angle = place[:, None] * frequency
    along = torch.cat([angle.sin(), angle.cos()], 1)
    x, y = along[None, :cols].expand(rows, -1, -1), along[:rows, None].expand(-1, cols, -1)
    return torch.cat([x, y], 2).flatten(0, 1)


def _modulated(h: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """(1 + scale) norm(h) + shift; h: [N, T, width], shift and scale: [N, 1, width]."""
    return torch.addcmul(shift, F.layer_norm(h, h.shape[-1:], eps=eps), 1 + scale)


class Block(nn.Module):
    """h <- h + g_1 attention((1 + s_1) norm(h) + b_1); y = h + g_2 mlp((1 + s_2) norm(h) + b_2).

    h, y: [N, T, width], emb: [N, width] (after SiLU); b_1, s_1, g_1, b_2, s_2, g_2 = W emb, where W starts at zero
    (adaLN-Zero), so that a fresh block is the identity. A text-conditional network has h <- h + cross(norm(h), text)
    between the two; its last layer starts at zero, too (PixArt-alpha, arXiv 2310.00426).
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

    The tokens are squares of `patch` x `patch` pixels. A fixed positional encoding is added to each, so images may have
    any size that `patch` divides. A fresh network's output is zero.
    `DiT(in_channels=4, out_channels=8, size="XL", classes=1000, null_label=True)` is DiT-XL/2 with 674,834,720
    parameters. The paper's code counts 675,129,632, because it stores the positional encoding of 32x32 latents as
    parameters that are not trained.
    Source: Peebles and Xie 2023, and the initialisation of their code.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the output; default: `in_channels`.
        size: the published depth, width and heads: S 12, 384, 6; B 12, 768, 12; L 24, 1024, 16; XL 28, 1152, 16.
        depth: number of blocks; overrides `size`, as `width` and `heads` do.
        width: width of a token; must be divisible by `heads`, and by 4 for the positional encoding.
        heads: attention heads.
        patch: side of the square of pixels that forms a token.
        time_features: width of the sinusoidal embedding of the time.
        time_endpoint: whether the lowest frequency is exactly 1/10000 (diffusers) or one step short of it (the paper's
            code).
        eps: epsilon of the layer normalisation.
        mlp_eps: epsilon of the normalisation before each block's MLP; default: `eps` (1e-5 in diffusers' files).
        classes: number of classes, for a class-conditional network: F(x, t, label), label [N] in 0..classes - 1.
        null_label: whether one more label, number `classes`, stands for "no class". Classifier-free guidance needs it,
            and a call without a label uses it. The attribute of the same name holds its number, or None.
        augment: whether the network can be conditioned on the augmentation of a training image: F(x, t, augment=), nine
            numbers [N, 9] from `data.Augment`; a call without them means no augmentation.
        time_scale: factor on the time before its sinusoids: 0.001 for a network trained on times in [0, 1).
        numbers: further scalar conditions, [N] each: "guidance", a guidance scale, and "span", the length of a step.
            Distillation needs them. Their layers start at zero, and a call may leave them out.
        text: for a text-conditional network, F(x, t, text=): the options of `nn.words.TextInput`. The vector of the
            whole text is added to the time embedding, which modulates every block, and every block attends to the
            text's tokens.
        image_embedding: size of an image embedding, for the decoder of unCLIP: F(x, t, image_embedding=), [N, size].
            It is added to the time embedding; a call without it means none.

    Raises:
        FromNoiseError: no size is given, the size is unknown, or the width is not divisible by `heads` and 4; in
            `forward`, a side is not divisible by `patch`.
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
        nn.init.xavier_uniform_(self.stem.weight.flatten(1))  # as a linear layer on a patch
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
        # Computed on the device, so that no call waits for an upload (Apple's GPU has no float64). In the weights'
        # type, so that under autocast the sum of the blocks stays float32.
        device = "cpu" if h.device.type == "mps" else h.device
        h = h + positions(rows, cols, h.shape[2], device).to(self.stem.weight)
        for block in self.blocks:
            h = block(h, emb, words)
        shift, scale = self.modulation(emb)[:, None].chunk(2, 2)
        h = self.out(_modulated(h, shift, scale, self.eps))
        squares = h.view(n, rows, cols, self.patch, self.patch, -1)
        return squares.permute(0, 5, 1, 3, 2, 4).reshape(n, -1, *x.shape[2:])
