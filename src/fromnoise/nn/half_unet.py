"""The way down of a U-Net with a sum at its end: a classifier that is told the time."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.nn.encoder import Parts, Resample, UNetEncoder
from fromnoise.nn.layers import init_identity
from fromnoise.nn.norm import GroupNormSiLU
from fromnoise.registry import register


class AttentionPool(nn.Module):
    """y = W_o sum_i softmax_i(q' k_i / sqrt(d)) v_i, q from the mean of the places: [N, C, H, W] -> [N, outputs].

    The weighted mean over the places that CLIP ends in, and ADM's classifier after it. Without their learned places:
    the convolutions before it know where they are from the borders.
    """

    def __init__(self, channels: int, heads: int, outputs: int):
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide into {heads} heads")
        self.heads = heads
        self.query, self.pair = nn.Linear(channels, channels), nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        places = x.flatten(2).mT
        q = self.query(places.mean(1)).view(n, self.heads, 1, -1)
        k, v = self.pair(places).view(n, h * w, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).reshape(n, c))


@register("half-unet")
class HalfUNet(UNetEncoder):
    """x, t -> logits: [N, in_channels, H, W], [N] -> [N, outputs].

    Source: Dhariwal and Nichol 2021, section 4: "the downsampling trunk of the U-Net", with an attention pool.

    Args:
        outputs: number of classes.
        in_channels, channels, mult, blocks, attention, heads, head_channels, groups, eps, dropout, resample,
            scale_shift, patch: as in `UNet`.

    Raises:
        FromNoiseError: in `forward`, when a side is not divisible by `patch` times the down-sampling.
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
    ):
        factor, emb = patch * 2 ** (len(mult) - 1), 4 * channels
        super().__init__(factor, channels, True, emb, None, False)
        self.patch = patch
        widths = [channels * m for m in mult]
        parts = Parts(emb, attention, heads, head_channels, groups, eps, dropout, scale_shift, resample)
        self._build_down(in_channels * patch**2, widths, blocks, parts, mid_attention=True)
        self.norm = GroupNormSiLU(groups, widths[-1], eps)
        self.pool = AttentionPool(widths[-1], widths[-1] // head_channels if head_channels else heads, outputs)
        init_identity(self)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        self.check_size(x.shape[-2:])
        emb = self.embedding(time, None, self.stem.weight.dtype)
        if self.patch > 1:
            x = F.pixel_unshuffle(x, self.patch)
        return self.pool(self.norm(self._walk_down(x, emb, every=False)[0]))
