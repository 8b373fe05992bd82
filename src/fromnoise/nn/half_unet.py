"""The downward half of a U-Net with a pooled output: a classifier of noisy states, conditioned on the time."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.nn.encoder import Parts, Resample, UNetEncoder
from fromnoise.nn.layers import init_identity
from fromnoise.nn.norm import GroupNormSiLU
from fromnoise.nn.spatial import Dims, folded
from fromnoise.registry import register


class AttentionPool(nn.Module):
    """y = W_o sum_i softmax_i(q' k_i / sqrt(d)) v_i, q from the mean over positions i: [N, C, *size] -> [N, outputs].

    The attention pool of CLIP, which ADM's classifier uses as well. Their learned positional embedding is optional: the
    convolutions before the pool can infer positions from the borders.

    Args:
        channels: C.
        heads: attention heads.
        outputs: width of the output.
        places: number of positions, for a learned positional embedding as in CLIP and ADM; the mean is then also
            attended to, as the first token, with an embedding of its own. None for neither.

    Raises:
        FromNoiseError: the channels do not divide into the heads.
    """

    def __init__(self, channels: int, heads: int, outputs: int, places: int | None = None):
        super().__init__()
        if channels % heads:
            raise FromNoiseError(f"{channels} channels do not divide into {heads} heads")
        self.heads = heads
        self.query, self.pair = nn.Linear(channels, channels), nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, outputs)
        self.places = None
        if places is not None:
            self.places = nn.Parameter(torch.randn(places + 1, channels) / channels**0.5)

    def forward(self, x: Tensor) -> Tensor:
        n, c = x.shape[:2]
        places = x.flatten(2).mT
        mean = places.mean(1, keepdim=True)
        if self.places is not None:
            places = torch.cat([mean, places], 1) + self.places
            mean = places[:, :1]
        q = self.query(mean).view(n, self.heads, 1, -1)
        k, v = self.pair(places).view(n, -1, 2, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).reshape(n, c))


@register("half-unet")
class HalfUNet(UNetEncoder):
    """x, t -> logits: [N, in_channels, *size], [N] -> [N, outputs].

    Source: Dhariwal and Nichol 2021, section 4: "the downsampling trunk of the U-Net", with an attention pool.

    Args:
        outputs: number of classes.
        in_channels, channels, mult, blocks, attention, heads, head_channels, groups, eps, dropout, resample,
            scale_shift, patch, dims, time_features, time_width, time_endpoint, time_scale: see `UNet`.
        size: sides of a state, for a pool with a learned positional embedding, as ADM's classifiers have; states of
            any other size are then refused. None for a pool without one.

    Raises:
        FromNoiseError: in `forward`, if a state does not have `dims` sides, a side is not divisible by `patch` times
            the down-sampling, or the sides are not `size`.
    """

    denoises: ClassVar[bool] = False

    def __init__(
        self,
        outputs: int,
        in_channels: int = 3,
        channels: int = 128,
        mult: tuple[int, ...] = (1, 2, 2, 2),
        blocks: int = 2,
        attention: tuple[int, ...] = (2,),
        heads: int = 1,
        head_channels: int | None = None,
        groups: int = 32,
        eps: float = 1e-6,
        dropout: float = 0.0,
        resample: Resample = "ddpm",
        scale_shift: bool = False,
        patch: int = 1,
        dims: Dims = 2,
        time_features: int | None = None,
        time_width: int | None = None,
        time_endpoint: bool = True,
        time_scale: float = 1.0,
        size: tuple[int, ...] | None = None,
    ):
        factor, emb = patch * 2 ** (len(mult) - 1), time_width or 4 * channels
        super().__init__(
            factor, time_features or channels, time_endpoint, emb, None, False, dims=dims, time_scale=time_scale
        )
        self.patch, self.size = patch, None if size is None else tuple(size)
        places = None if size is None else math.prod(side // factor for side in size)
        widths = [channels * m for m in mult]
        parts = Parts(emb, attention, heads, head_channels, groups, eps, dropout, scale_shift, resample, dims)
        self._build_down(in_channels * patch**dims, widths, blocks, parts, mid_attention=True)
        self.norm = GroupNormSiLU(groups, widths[-1], eps)
        self.pool = AttentionPool(widths[-1], widths[-1] // head_channels if head_channels else heads, outputs, places)
        init_identity(self)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        self.check_size(x.shape[2:])
        if self.size is not None and tuple(x.shape[2:]) != self.size:
            given, own = ("x".join(map(str, sides)) for sides in (x.shape[2:], self.size))
            raise FromNoiseError(f"states of {given} do not fit: this network has learned the places of {own}")
        emb = self.embedding(time, None, self.stem.weight.dtype)
        return self.pool(self.norm(self.walk_down(folded(x, self.patch), emb, every=False)[0]))
