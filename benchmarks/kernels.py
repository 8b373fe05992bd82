"""fromnoise's own layer implementations beside PyTorch's: `python benchmarks/kernels.py`.

Milliseconds of forward and backward pass, medians of interleaved runs. Read the ratios, since the milliseconds drift
with the machine. Please report layers whose ratio is below 1 on your machine.
"""

import statistics
import time

import torch
import torch.nn.functional as F

from fromnoise.nn.dropout import Dropout
from fromnoise.nn.layers import doubled_conv
from fromnoise.nn.norm import GroupNormSiLU
from fromnoise.train.optimizers.newton_schulz import by_gram, by_steps

NORMS = [(64, 64, 28, 32), (64, 128, 14, 32), (64, 256, 8, 8), (64, 32, 32, 8)]
UPS = [(32, 256, 4), (32, 256, 8), (32, 256, 16), (64, 48, 7), (1, 256, 16)]


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


def line(what, dtype, found):
    native, own = found
    print(f"{what:52}{str(dtype).removeprefix('torch.'):10}{native:9.2f}{own:9.2f}{native / own:8.2f}", flush=True)


def norms(dtype):
    for n, channels, side, groups in NORMS:
        norm = GroupNormSiLU(groups, channels)
        x = torch.randn(n, channels, side, side).to(memory_format=torch.channels_last, dtype=dtype)
        weight, bias = norm.weight.to(dtype), norm.bias.to(dtype)

        def native(x=x, weight=weight, bias=bias, groups=groups):
            leaf = x.detach().requires_grad_()
            F.silu(F.group_norm(leaf, groups, weight, bias)).backward(x)

        def ours(x=x, norm=norm):
            norm(x.detach().requires_grad_()).backward(x)

        line(f"GroupNorm + SiLU, {n} x {channels} x {side}x{side}, {groups} groups", dtype, timed([native, ours]))


def ups(dtype):
    for n, channels, side in UPS:
        weight = (torch.randn(channels, channels, 3, 3) / channels).to(memory_format=torch.channels_last, dtype=dtype)
        x = torch.randn(n, channels, side, side).to(memory_format=torch.channels_last, dtype=dtype)
        x, weight = x.requires_grad_(), weight.requires_grad_()
        bias = torch.randn(channels, dtype=dtype)

        def native(x=x, weight=weight, bias=bias):
            F.conv2d(F.interpolate(x, scale_factor=2.0), weight, bias, padding=1).sum().backward()

        def ours(x=x, weight=weight, bias=bias):
            doubled_conv(x, weight, bias).sum().backward()

        line(f"up-sampling + 3x3, {n} x {channels} x {side}x{side}", dtype, timed([native, ours]))


def dropout(dtype):
    x = torch.randn(64, 32, 32, 32).to(memory_format=torch.channels_last, dtype=dtype).requires_grad_()
    grad = torch.ones_like(x)
    layers = [torch.nn.Dropout(0.1), Dropout(0.1)]
    line("dropout, 64 x 32 x 32x32", dtype, timed([lambda m=m: m(x).backward(grad) for m in layers]))


def muon():
    for shape in ((6, 96, 864), (4, 256, 2304)):
        x = torch.randn(shape)
        x = x / x.flatten(1).norm(dim=1)[:, None, None]
        found = timed([lambda x=x: by_steps(x), lambda x=x: by_gram(x)])
        line(f"Muon's iteration, {shape[0]} matrices of {shape[1]} x {shape[2]}", x.dtype, found)


def main():
    print(f"{torch.get_num_threads()} threads; milliseconds, channels_last\n")
    print(f"{'':52}{'':10}{'PyTorch':>9}{'ours':>9}{'ratio':>8}")
    for dtype in (torch.float32, torch.bfloat16):
        norms(dtype)
        ups(dtype)
        dropout(dtype)
    muon()


if __name__ == "__main__":
    main()
