"""The rates that the device reaches in one large operation; later rates are given as shares of these."""

import subprocess

import torch

from gpu_stages import formats
from gpu_stages.clock import median
from gpu_stages.context import Context


def run(context: Context) -> None:
    device = context.device
    _device(context)
    side = 192 if context.tiny else 8192
    for numbers, dtype in (("bf16", torch.bfloat16), (formats.loose(context), torch.float32)):
        with context.trying(f"matmul {numbers}"), formats.float32(numbers):
            a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
            out = torch.empty_like(a)
            seconds = median(lambda: torch.mm(a, b, out=out), device, 0.05 if context.tiny else 1)
            context.row(f"matmul {numbers}", 2 * side**3 / seconds / 1e12, "TFLOP/s", numbers=numbers,
                        note=f"{side} x {side} x {side}, random numbers")  # fmt: skip
    with context.trying("copy"):
        _copy(context)
    with context.trying("convolution bf16"):
        n, channels, size = (1, 32, 8) if context.tiny else (128, 256, 32)
        layer = torch.nn.Conv2d(channels, channels, 3, padding=1, device=device, dtype=torch.bfloat16)
        layer.to(memory_format=torch.channels_last)
        x = torch.randn(n, channels, size, size, device=device, dtype=torch.bfloat16)
        x = x.to(memory_format=torch.channels_last)
        with torch.no_grad():
            for what, tries in (("convolution bf16", False), ("convolution bf16, kernel chosen by trying", True)):
                torch.backends.cudnn.benchmark = tries
                seconds = median(lambda: layer(x), device, 0.05 if context.tiny else 0.5)
                rate = 2 * n * size**2 * channels**2 * 9 / seconds / 1e12
                context.row(what, rate, "TFLOP/s", numbers="bf16", of="matmul bf16", rate=rate,
                            note=f"3x3, {channels} channels at {size}x{size}, batch {n}, channels_last")  # fmt: skip


def _copy(context: Context) -> None:
    source = torch.randn(2**16 if context.tiny else 2**29, device=context.device)
    target = torch.empty_like(source)
    seconds = median(lambda: target.copy_(source), context.device, 0.05 if context.tiny else 0.5)
    context.row("copy", 2 * 4 * source.numel() / seconds / 1e9, "GB/s", numbers="fp32",
                note="read and written, on the device")  # fmt: skip


def _device(context: Context) -> None:
    """Record the device that all figures are from."""
    if context.cuda:
        found = torch.cuda.get_device_properties(context.device)
        about = (f"{found.name}, {found.multi_processor_count} multiprocessors, driver {_driver()}, "
                 f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")  # fmt: skip
        memory = found.total_memory / 1e9
    else:
        import os

        about = f"CPU, {torch.get_num_threads()} threads"
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    context.row("memory", memory, "GB", numbers="-", note=f"{about}, torch {torch.__version__}")


def _driver() -> str:
    try:
        asked = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                               capture_output=True, text=True, timeout=10)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "unknown (no nvidia-smi)"
    return (asked.stdout.strip().splitlines() or ["unknown"])[0]
