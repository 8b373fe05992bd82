"""The building blocks of diffusion U-Nets."""

import math
from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.nn.dropout import Dropout
from fromnoise.nn.norm import GroupNormSiLU
from fromnoise.nn.spatial import CONV, CONV_TRANSPOSE, CONVOLVED, CONVOLVED_TRANSPOSED, averaged, repeated

if TYPE_CHECKING:
    from fromnoise.nn.words import Words

_LAYERS = (nn.Linear, *CONV.values(), *CONV_TRANSPOSE.values())


class Sinusoidal(nn.Module):
    """[sin(t f_i), cos(t f_i)], f_i = 10000^(-i/(half - 1)), i = 0..half - 1: [B] -> [B, width], float32.

    With `endpoint=False` the frequencies are f_i = 10000^(-i/half), which do not reach 1/10000: the choice of the
    thesis and of the original transformer. DDPM's reference code includes the endpoint.
    """

    bits: Tensor

    def __init__(self, width: int, endpoint: bool = True):
        super().__init__()
        half = width // 2
        steps = max(half - 1, 1) if endpoint else half
        if torch.get_default_device().type == "meta":  # a network's size is being checked; see `_budget`. There,
            frequency = torch.empty(half)  # torch.exp would import PyTorch's compiler: seconds for every command
        else:
            with torch.device("cpu"):  # the same numbers on every device
                frequency = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10000) / steps)).float()
            frequency = frequency.to(torch.get_default_device())
        # Stored as integers: they move with the network, but stay exact when its weights become half precision.
        self.register_buffer("bits", frequency.view(torch.int32), persistent=False)
        self.odd = width % 2

    def forward(self, time: Tensor) -> Tensor:
        angle = time.float()[:, None] * self.bits.view(torch.float32)
        return F.pad(torch.cat([angle.sin(), angle.cos()], 1), (0, self.odd))


def init_fan_avg(module: nn.Module) -> None:
    """Apply DDPM's initialisation: uniform weights of variance 1/fan_avg, zero biases."""
    if isinstance(module, _LAYERS):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def zeroed(module: nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear) -> None:
    """Set a layer to zero: at the end of a residual branch, this makes a fresh block the identity."""
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def half(x: Tensor) -> Tensor:
    """Halve every side by averaging: over 2x2 pixels for images."""
    return averaged(x, 2)


def double(x: Tensor) -> Tensor:
    """Double every side by repeating each element."""
    return repeated(x, 2)


def doubled_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """conv3(double(x)), [N, c_in, *size] -> [N, c_out, *2 size], with 1.5 times fewer multiplications for each axis.

    Of the three elements that the kernel covers along an axis, only two differ. The result therefore equals a
    transposed convolution of stride 2 with a kernel of width 4, whose weights along each axis are sums of the original
    ones, (w_2, w_1 + w_2, w_0 + w_1, w_0); the doubled state is never stored.
    """
    dims = x.dim() - 2
    # Too few elements to pay for the sums; or an export, whose graph must work for any number of examples.
    if torch.compiler.is_exporting() or len(x) * math.prod(x.shape[2:]) < 512:
        return CONVOLVED[dims](double(x), weight, bias, padding=1)
    with torch.autocast(x.device.type, enabled=False):  # the sums have the weights' precision
        turned = torch.eye(3, dtype=weight.dtype, device=weight.device).flip(0)  # no list: it would be copied over
        row = F.pad(turned, (0, 0, 0, 1)) + F.pad(turned, (0, 0, 1, 0))
        flat = weight.permute(*range(2, dims + 2), 1, 0).reshape(3**dims, -1)
        summed = reduce(torch.kron, [row] * dims) @ flat
        kernel = summed.view(*(4,) * dims, *weight.shape[1::-1]).permute(dims, dims + 1, *range(dims))
    return CONVOLVED_TRANSPOSED[dims](x, kernel, bias, stride=2, padding=1)


class ResidualBlock(nn.Module):
    """y = s (skip(x) + conv(dropout(silu(norm(conv(silu(norm(x))) + W emb))))), s = 1 by default.

    x: [N, c_in, *size], emb: [N, width] (after SiLU), y: [N, c_out, *size]. The order of the layers is that of DDPM's
    code, not the one that Sedykh 2.2.3 describes.

    Args:
        c_in, c_out: channels of x and y.
        width: width of emb; None for a block without conditioning, which has no term W emb.
        groups, eps: see `GroupNormSiLU`.
        dropout: dropout probability.
        scale_shift: whether emb scales and shifts the second norm, (1 + W_1 emb) norm(h) + W_2 emb, instead of being
            added (improved DDPM's code; "adaptive group normalisation" of Dhariwal and Nichol 2021).
        resize: `half` or `double`, applied to both branches before the first convolution (their "resblock_updown").
        dims: number of axes of `size`.
        skip_scale: s; with sqrt(1/2), the sum of two states of variance 1 has variance 1 (Song et al. 2021,
            arXiv 2011.13456, appendix H).
        group_channels: see `GroupNormSiLU`.
        project: whether a resizing block has a 1x1 convolution in its skip connection even if it keeps the width.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        width: int | None,
        groups: int,
        eps: float,
        dropout: float = 0.0,
        scale_shift: bool = False,
        resize: Callable[[Tensor], Tensor] | None = None,
        dims: int = 2,
        skip_scale: float = 1.0,
        group_channels: int | None = None,
        project: bool = False,
    ):
        super().__init__()
        self.scale_shift, self.resize, self.skip_scale = scale_shift, resize, skip_scale
        self.norm1 = GroupNormSiLU(groups, c_in, eps, group_channels=group_channels)
        self.conv1 = CONV[dims](c_in, c_out, 3, padding=1)
        self.time = None if width is None else nn.Linear(width, 2 * c_out if scale_shift else c_out)
        self.norm2 = GroupNormSiLU(groups, c_out, eps, not scale_shift, group_channels)
        self.dropout = Dropout(dropout)
        self.conv2 = CONV[dims](c_out, c_out, 3, padding=1)
        projects = c_in != c_out or (project and resize is not None)
        self.shortcut = CONV[dims](c_in, c_out, 1) if projects else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor | None = None) -> Tensor:
        h = self.norm1(x)
        if self.resize is double:
            h, x = doubled_conv(h, self.conv1.weight, self.conv1.bias), double(x)
        elif self.resize is not None:
            h, x = self.conv1(self.resize(h)), self.resize(x)
        else:
            h = self.conv1(h)
        told = None if self.time is None else self.time(emb)[(..., *(None,) * (h.dim() - 2))]
        if told is None:
            h = self.norm2(h)
        elif self.scale_shift:
            scale, shift = told.chunk(2, 1)
            h = F.silu(torch.addcmul(shift, self.norm2(h), 1 + scale))
        else:
            h = self.norm2(h.add_(told))
        y = self.conv2(self.dropout(h)).add_(self.shortcut(x))  # a convolution's backward pass needs no output
        return y if self.skip_scale == 1 else y.mul_(self.skip_scale)


def attended(qkv: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """softmax(q k' / sqrt(d)) v in every head: [N, T, 3 C] -> [N, T, C].

    Args:
        qkv: q, k and v, concatenated in this order.
        heads: attention heads.
        mask: [N, T], True for tokens that can be attended to; None for all.
    """
    n, tokens, c = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    q, k, v = qkv.view(n, tokens, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
    seen = None if mask is None else mask[:, None, None]
    return F.scaled_dot_product_attention(q, k, v, seen).transpose(1, 2).reshape(n, tokens, c)


class SelfAttention(nn.Module):
    """y = s (x + W_o softmax(q k' / sqrt(d)) v) over all positions: [N, C, *size] -> [N, C, *size]; s = 1 by default.

    In a text-conditional network, the keys and values of the text are appended to those of the positions (GLIDE, arXiv
    2112.10741).

    Args:
        channels: C.
        heads: attention heads.
        groups, eps, group_channels: see `GroupNormSiLU`.
        skip_scale: s.
        words: width of the text's rows; None without text.

    Raises:
        FromNoiseError: the channels do not divide into the heads.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        groups: int,
        eps: float,
        skip_scale: float = 1.0,
        group_channels: int | None = None,
        words: int | None = None,
    ):
        super().__init__()
        if channels % heads:
            raise FromNoiseError(f"{channels} channels do not divide into {heads} heads")
        self.heads, self.skip_scale = heads, skip_scale
        self.norm = GroupNormSiLU(groups, channels, eps, False, group_channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.kv = nn.Linear(words, 2 * channels) if words else None
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, words: "Words | None" = None) -> Tensor:
        n, c, *size = x.shape
        tokens = self.norm(x).movedim(1, -1).reshape(n, -1, c)
        qkv, mask = self.qkv(tokens), None
        if self.kv is not None and words is not None:
            beside = F.pad(self.kv(words.rows), (c, 0))  # zeros as queries: their outputs are dropped
            qkv, mask = torch.cat([qkv, beside], 1), F.pad(words.mask, (tokens.shape[1], 0), value=True)
        mixed = attended(qkv, self.heads, mask)[:, : tokens.shape[1]]
        y = x + self.out(mixed).view(n, *size, c).movedim(-1, 1)
        return y if self.skip_scale == 1 else y * self.skip_scale


class NoAttention(nn.Module):
    """y = x: stands in for attention at levels of a U-Net that have none."""

    def forward(self, x: Tensor, words: "Words | None" = None) -> Tensor:
        return x


class _Strided(nn.Module):
    """DDPM's down-sampling: kernel 3, stride 2, padded only at the end of each axis, as TensorFlow does."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__(c_in, c_out, 3, stride=2)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, (0, 1) * (input.dim() - 2)))


class _Nearest(nn.Module):
    """DDPM's up-sampling: every element twice along each axis, then a convolution with kernel 3."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, c_in: int, c_out: int):
        super().__init__(c_in, c_out, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        return doubled_conv(input, self.weight, self.bias)


class StridedDown1d(_Strided, nn.Conv1d): ...


class StridedDown(_Strided, nn.Conv2d): ...


class StridedDown3d(_Strided, nn.Conv3d): ...


class NearestUp1d(_Nearest, nn.Conv1d): ...


class NearestUp(_Nearest, nn.Conv2d): ...


class NearestUp3d(_Nearest, nn.Conv3d): ...


STRIDED_DOWN = {1: StridedDown1d, 2: StridedDown, 3: StridedDown3d}
NEAREST_UP = {1: NearestUp1d, 2: NearestUp, 3: NearestUp3d}


def init_identity(network: nn.Module) -> None:
    """Apply `init_fan_avg`, and zero the end of every residual branch, so that every block starts as y = x."""
    from fromnoise.nn.spatial_transformer import SpatialTransformer  # which imports this module

    network.apply(init_fan_avg)
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            zeroed(module.conv2)
        elif isinstance(module, SelfAttention | SpatialTransformer):
            zeroed(module.out)
