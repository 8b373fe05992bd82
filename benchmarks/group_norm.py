"""GroupNorm + SiLU, forward and backward: torch's kernel against ours, in the layouts that matter on a CPU.

Figures are medians of interleaved runs; read the ratios, the milliseconds drift with the machine.
"""

import statistics
import time

import torch
import torch.nn.functional as F

from fromnoise.nn._norm import GroupNormSiLU

CASES = [(64, 64, 28, 32), (64, 128, 14, 32), (64, 256, 8, 8), (64, 32, 32, 8)]


def timed(functions, runs=9):
    """Median milliseconds of each function, run in turn."""
    seconds = [[] for _ in functions]
    for turn in range(runs + 2):
        for column, function in zip(seconds, functions, strict=True):
            start = time.perf_counter()
            function()
            if turn > 1:
                column.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(column) for column in seconds]


def main():
    print(f"{torch.get_num_threads()} threads; N, channels, side, groups; milliseconds forward + backward")
    for dtype in (torch.float32, torch.bfloat16):
        for n, channels, side, groups in CASES:
            norm = GroupNormSiLU(groups, channels)
            plain = torch.randn(n, channels, side, side).to(dtype)
            last = plain.to(memory_format=torch.channels_last)
            weight, bias = norm.weight.to(dtype), norm.bias.to(dtype)

            def native(x, weight=weight, bias=bias, groups=groups):
                leaf = x.detach().requires_grad_()
                F.silu(F.group_norm(leaf, groups, weight, bias)).backward(x)

            def ours(x, norm=norm):
                norm(x.detach().requires_grad_()).backward(x)

            nchw, nhwc, own = timed([lambda: native(plain), lambda: native(last), lambda: ours(last)])
            print(f"{dtype!s:15} {n:3} {channels:4} {side:3} {groups:3}   native NCHW {nchw:7.2f}", end="")
            print(f"   channels_last: native {nhwc:7.2f}   ours {own:7.2f}   ratio {nhwc / own:5.2f}")


if __name__ == "__main__":
    main()
