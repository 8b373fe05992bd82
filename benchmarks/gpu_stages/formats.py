"""Number formats: what float32 means to a GPU's matrix units, and ours by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from fromnoise.hardware import Hardware, choose, tune
from gpu_stages.context import Context


def loose(context: Context) -> str:
    """The name of the fast float32: a CPU has only the exact one."""
    return "tf32" if context.cuda else "fp32"


@contextmanager
def float32(numbers: str) -> Iterator[None]:
    """Products of float32 exact ("fp32") or in tf32; as it was afterwards.

    By the settings that `hardware.tune` uses: PyTorch refuses a mixture of these and its older ones.
    """
    places = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = "tf32" if numbers == "tf32" else "ieee"
    try:
        yield
    finally:
        for place, was in zip(places, before, strict=True):
            place.fp32_precision = was


def hardware(numbers: str) -> Hardware:
    """Ours, computing in fp32, tf32 or bf16; sets what float32 means for the whole process."""
    tune("fp32" if numbers == "fp32" else "auto")
    if numbers == "tf32":  # what "auto" lets float32 be, without going on to bf16
        return replace(choose("auto"), dtype=torch.float32)
    return choose(numbers)


def ceiling(context: Context) -> str:
    """What rates in the usual format are shares of."""
    return f"matmul {usual(context)}"


def usual(context: Context) -> str:
    """What the device is best used with: bf16 on a GPU; in miniature fp32, which every CPU has."""
    return "bf16" if context.cuda else "fp32"
