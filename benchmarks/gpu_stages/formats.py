"""Number formats: what float32 means to a GPU's matrix units, and ours by name."""

from contextlib import AbstractContextManager
from dataclasses import replace

import torch

from fromnoise.system.hardware import Hardware, choose, exact_float32, tune
from gpu_stages.context import Context


def loose(context: Context) -> str:
    """The name of the fast float32: a CPU has only the exact one."""
    return "tf32" if context.cuda else "fp32"


def float32(numbers: str) -> AbstractContextManager[None]:
    """Products of float32 exact ("fp32") or in tf32; as it was afterwards."""
    return exact_float32(numbers != "tf32")


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
