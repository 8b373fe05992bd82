"""Group normalisation followed by SiLU, as one operation that is fast in channels_last.

On the CPU, PyTorch's native kernel is slow when the tensor is channels_last and a group holds few channels (in bf16, 64
channels in 32 groups at 28x28: nine times slower than in NCHW). In channels_last, the moments of a group are column
sums of a contiguous matrix, so three streaming passes suffice: moments, affine map, SiLU. `benchmarks/kernels.py`
measures both. On CUDA the operation is one Triton kernel.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.nn.twice import PLAIN

_TRITON_TYPES = (torch.bfloat16, torch.float16, torch.float32)


class GroupNormSiLU(nn.Module):
    """y = silu(w (x - mean_g) / sqrt(var_g + eps) + b), moments over each group of channels and all positions.

    x, y: [N, C, *size]. Statistics are float32 for every type of input; the output has the input's type.

    Args:
        groups: number of groups.
        channels: C.
        eps: added to the variance.
        silu: whether to apply the activation; attention blocks use the norm without it.
        group_channels: least number of channels in a group, which limits `groups` to C // group_channels.

    Raises:
        FromNoiseError: the channels do not divide into the groups.
    """

    def __init__(
        self, groups: int, channels: int, eps: float = 1e-6, silu: bool = True, group_channels: int | None = None
    ):
        super().__init__()
        groups = groups if group_channels is None else max(min(groups, channels // group_channels), 1)
        if channels % groups:
            raise FromNoiseError(f"{channels} channels do not divide into {groups} groups")
        self.groups, self.eps, self.silu = groups, eps, silu
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4 and not torch.compiler.is_compiling() and not PLAIN.get() and _is_channels_last(x):
            if _streaming_is_faster(x, self.groups):
                return _Streaming.apply(x, self.weight, self.bias, self.groups, self.eps, self.silu)
            if x.device.type == "cuda" and x.dtype in _TRITON_TYPES and _has_triton():
                from fromnoise.nn.fused_norm import Fused

                return Fused.apply(x, self.weight, self.bias, self.groups, self.eps, self.silu)
        if x.dtype == self.weight.dtype:
            y = F.group_norm(x, self.groups, self.weight, self.bias, self.eps)
        else:  # under autocast CUDA would return float32, doubling the memory traffic of the next operations
            with torch.autocast(x.device.type, enabled=False):
                y = F.group_norm(x, self.groups, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)
        return F.silu(y, inplace=not torch.is_grad_enabled()) if self.silu else y


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


@cache
def _has_triton() -> bool:
    from torch.utils._triton import has_triton

    return has_triton()


def _streaming_is_faster(x: Tensor, groups: int) -> bool:
    if x.device.type != "cpu" or x.dtype not in (torch.bfloat16, torch.float32):
        return False
    # PyTorch's kernel is vectorised over the channels of a group: slow with few of them, faster with many.
    if x.shape[1] // groups > (2 if x.dtype == torch.float32 else 8):
        return False
    if x.dtype == torch.float32:
        return True
    # Without gradients, PyTorch has a second, fast kernel from 1024 pixels on.
    return torch.is_grad_enabled() or x.shape[2] * x.shape[3] < 1024


class _Streaming(torch.autograd.Function):
    """`GroupNormSiLU` computed on the [N, pixels, C] view, with an explicit backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool) -> Tensor:
        n, c, h, w = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(n, h * w, c)
        size = h * w * (c // groups)
        total = rows.sum(1, dtype=torch.float32).view(n, groups, -1).sum(2)
        square = (rows * rows).sum(1, dtype=torch.float32).view(n, groups, -1).sum(2)
        mean = total / size
        rstd = ((square / size - mean * mean).clamp_min(0) + eps).rsqrt()
        scale = rstd[:, :, None] * weight.float().view(groups, -1)
        shift = bias.float().view(groups, -1) - mean[:, :, None] * scale
        scale = scale.view(n, 1, c).to(x.dtype)
        shift = shift.view(n, 1, c).to(x.dtype)
        y = torch.addcmul(shift, rows, scale)
        if silu:
            F.silu(y, inplace=True)
        ctx.save_for_backward(rows, scale, shift, mean, rstd, weight)
        ctx.silu, ctx.size, ctx.shape = silu, size, (n, h, w, c)
        return y.view(n, h, w, c).permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyrefly: ignore[bad-override]
        (grad,) = grads
        rows, scale, shift, mean, rstd, weight = ctx.saved_tensors
        n, _, c = rows.shape
        groups = mean.shape[1]
        grad = grad.permute(0, 2, 3, 1).reshape(rows.shape).to(rows.dtype)
        scratch = torch.addcmul(shift, rows, scale)
        if ctx.silu:
            grad = torch.ops.aten.silu_backward(grad, scratch)
        sum_grad = grad.sum(1, dtype=torch.float32)
        sum_grad_x = torch.mul(grad, rows, out=scratch).sum(1, dtype=torch.float32)

        def per_channel(group_values: Tensor) -> Tensor:
            return group_values.repeat_interleave(c // groups, 1)

        grad_weight = (sum_grad_x - per_channel(mean) * sum_grad) * per_channel(rstd)
        # dx = rstd (w dy - mean_g(w dy) - xhat mean_g(w dy xhat)), with xhat = (x - mean) rstd
        w = weight.float()
        a = (sum_grad * w).view(n, groups, -1).sum(2) / ctx.size
        b = (grad_weight * w).view(n, groups, -1).sum(2) / ctx.size
        slope = per_channel(-b * rstd * rstd).to(rows.dtype)[:, None]
        offset = per_channel((b * rstd * mean - a) * rstd).to(rows.dtype)[:, None]
        dx = torch.addcmul(offset, rows, slope).addcmul_(grad, scale)
        dx = dx.view(ctx.shape).permute(0, 3, 1, 2)
        return dx, grad_weight.sum(0).to(weight.dtype), sum_grad.sum(0).to(weight.dtype), None, None, None
