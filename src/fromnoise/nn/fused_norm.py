"""Group normalisation and SiLU in one kernel for channels_last images on CUDA, forward and backward.

PyTorch's CUDA kernel supports only NCHW: around every norm of a channels_last network the image is copied twice in the
forward pass and twice in the backward pass. On an H200 these copies took more time than the convolutions between them.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_TILE = 4096  # numbers that a program holds at a time
_CHANNELS = 32  # adjacent in memory: 64 bytes of bf16
PROGRAMS = 128  # enough to fill a GPU


@triton.jit
def _tile(first_group, channels, EACH: tl.constexpr, GROUPS: tl.constexpr, WIDTH: tl.constexpr):
    """The channels of this program, [GROUPS, WIDTH], and which of them exist; WIDTH is EACH rounded up to 2^n."""
    group = first_group + tl.arange(0, GROUPS)[:, None]
    within = tl.arange(0, WIDTH)[None, :]
    channel = group * EACH + within
    return channel, (within < EACH) & (channel < channels)


@triton.jit
def _sum(values):
    """[positions, groups, width] -> [groups]."""
    return tl.sum(tl.sum(values, axis=2), axis=0)


@triton.jit(do_not_specialize=["places"])
def _norm_forward(
    x, weight, bias, y, means, rstds, places, channels, eps,
    EACH: tl.constexpr, GROUPS: tl.constexpr, WIDTH: tl.constexpr, PLACES: tl.constexpr, SILU: tl.constexpr,
):  # fmt: skip
    image, first = tl.program_id(0).to(tl.int64), tl.program_id(1) * GROUPS
    channel, exists = _tile(first, channels, EACH, GROUPS, WIDTH)
    base = image * places * channels
    mean = tl.zeros([GROUPS], tl.float32)
    square = tl.zeros([GROUPS], tl.float32)  # sum of squared differences from the mean
    seen = tl.zeros([GROUPS], tl.float32)
    for start in range(0, places, PLACES):
        place = start + tl.arange(0, PLACES)[:, None, None]
        mask = (place < places) & exists[None]
        value = tl.load(x + base + place * channels + channel[None], mask, other=0).to(tl.float32)
        count = (tl.minimum(PLACES, places - start) * EACH).to(tl.float32)
        own = _sum(value) / count
        apart = tl.where(mask, value - own[None, :, None], 0.0)
        shift = own - mean
        square += _sum(apart * apart) + shift * shift * (seen * count / (seen + count))
        mean += shift * (count / (seen + count))
        seen += count
    rstd = tl.rsqrt(square / seen + eps)
    group = first + tl.arange(0, GROUPS)
    row = image * (channels // EACH) + group
    tl.store(means + row, mean, group < channels // EACH)
    tl.store(rstds + row, rstd, group < channels // EACH)
    w = tl.load(weight + channel, exists, other=0).to(tl.float32)
    scale = w * rstd[:, None]
    offset = tl.load(bias + channel, exists, other=0).to(tl.float32) - mean[:, None] * scale
    for start in range(0, places, PLACES):
        place = start + tl.arange(0, PLACES)[:, None, None]
        mask = (place < places) & exists[None]
        at = base + place * channels + channel[None]
        z = tl.load(x + at, mask, other=0).to(tl.float32) * scale[None] + offset[None]
        if SILU:
            z = z * tl.sigmoid(z)
        tl.store(y + at, z.to(y.dtype.element_ty), mask)


@triton.jit
def _normal_and_slope(x, grad, at, mask, mean, rstd, w, b, SILU: tl.constexpr):
    """xhat = (x - mean) rstd, and the gradient before the activation."""
    hat = (tl.load(x + at, mask, other=0).to(tl.float32) - mean[None]) * rstd[None]
    g = tl.load(grad + at, mask, other=0).to(tl.float32)
    if SILU:
        z = hat * w[None] + b[None]
        s = tl.sigmoid(z)
        g = g * (s * (1 + z * (1 - s)))
    return hat, g


@triton.jit(do_not_specialize=["places"])
def _norm_backward(
    x, weight, bias, means, rstds, grad, grad_x, grad_weight, grad_bias, places, channels,
    EACH: tl.constexpr, GROUPS: tl.constexpr, WIDTH: tl.constexpr, PLACES: tl.constexpr, SILU: tl.constexpr,
):  # fmt: skip
    image, first = tl.program_id(0).to(tl.int64), tl.program_id(1) * GROUPS
    channel, exists = _tile(first, channels, EACH, GROUPS, WIDTH)
    base = image * places * channels
    group = first + tl.arange(0, GROUPS)
    row = image * (channels // EACH) + group
    mean = tl.load(means + row, group < channels // EACH, other=0)[:, None]
    rstd = tl.load(rstds + row, group < channels // EACH, other=0)[:, None]
    w = tl.load(weight + channel, exists, other=0).to(tl.float32)
    b = tl.load(bias + channel, exists, other=0).to(tl.float32)
    sums = tl.zeros([GROUPS, WIDTH], tl.float32)
    products = tl.zeros([GROUPS, WIDTH], tl.float32)
    for start in range(0, places, PLACES):
        place = start + tl.arange(0, PLACES)[:, None, None]
        mask = (place < places) & exists[None]
        at = base + place * channels + channel[None]
        hat, g = _normal_and_slope(x, grad, at, mask, mean, rstd, w, b, SILU)
        sums += tl.sum(g, axis=0)
        products += tl.sum(g * hat, axis=0)
    tl.store(grad_bias + image * channels + channel, sums, exists)
    tl.store(grad_weight + image * channels + channel, products, exists)
    # dx = rstd (w dy - mean_g(w dy) - xhat mean_g(w dy xhat))
    size = (places * EACH).to(tl.float32)
    level = (tl.sum(w * sums, axis=1) / size)[:, None]
    tilt = (tl.sum(w * products, axis=1) / size)[:, None]
    for start in range(0, places, PLACES):
        place = start + tl.arange(0, PLACES)[:, None, None]
        mask = (place < places) & exists[None]
        at = base + place * channels + channel[None]
        hat, g = _normal_and_slope(x, grad, at, mask, mean, rstd, w, b, SILU)
        out = (g * w[None] - level[None] - hat * tilt[None]) * rstd[None]
        tl.store(grad_x + at, out.to(grad_x.dtype.element_ty), mask)


def plan(images: int, channels: int, groups: int, silu: bool) -> tuple[tuple[int, int], dict[str, Any]]:
    """(the grid, the constants that are compiled in).

    They depend on few numbers, because every new combination compiles for a second. Neighbouring groups share a program
    unless that would leave too few programs.
    """
    each = channels // groups
    width = triton.next_power_of_2(each)
    side = max(1, min(triton.next_power_of_2(groups), _CHANNELS // width))
    if images * triton.cdiv(groups, side) < PROGRAMS:
        side = 1
    sizes = {"EACH": each, "GROUPS": side, "WIDTH": width, "PLACES": max(1, _TILE // (side * width)), "SILU": silu}
    return (images, triton.cdiv(groups, side)), sizes


class Fused(torch.autograd.Function):
    """y = silu(w (x - mean_g) / sqrt(var_g + eps) + b); x, y: [N, C, H, W] in channels_last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
        n, c, h, w = x.shape
        grid, sizes = plan(n, c, groups, silu)
        y = torch.empty_like(x)
        mean, rstd = torch.empty(2, n, groups, device=x.device, dtype=torch.float32)
        with torch.cuda.device_of(x):
            _norm_forward[grid](x, weight, bias, y, mean, rstd, h * w, c, eps, **sizes)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.groups, ctx.silu = groups, silu
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyrefly: ignore[bad-override]
        x, weight, bias, mean, rstd = ctx.saved_tensors
        n, c, h, w = x.shape
        grid, sizes = plan(n, c, ctx.groups, ctx.silu)
        grad = grads[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(x)
        dw, db = torch.empty(2, n, c, device=x.device, dtype=torch.float32)
        with torch.cuda.device_of(x):
            _norm_backward[grid](x, weight, bias, mean, rstd, grad, dx, dw, db, h * w, c, **sizes)
        return dx, dw.sum(0).to(weight.dtype), db.sum(0).to(weight.dtype), None, None, None
