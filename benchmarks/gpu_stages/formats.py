"""Number formats: fp32, tf32 and bf16, by name."""

from contextlib import AbstractContextManager
from dataclasses import replace

import torch

from fromnoise.system.hardware import Hardware, choose, exact_float32, tune
from gpu_stages.context import Context


def loose(context: Context) -> str:
    """Name of the fast float32 format; a CPU has only the exact one."""
    return "tf32" if context.cuda else "fp32"


def float32(numbers: str) -> AbstractContextManager[None]:
    """Within the block, float32 products are exact ("fp32") or in tf32."""
    return exact_float32(numbers != "tf32")


def hardware(numbers: str) -> Hardware:
    """The hardware settings for fp32, tf32 or bf16; sets the meaning of float32 for the whole process."""
    tune("fp32" if numbers == "fp32" else "auto")
    if numbers == "tf32":  # "auto" sets float32 to tf32; keep that without its bf16
        return replace(choose("auto"), dtype=torch.float32)
    return choose(numbers)


def ceiling(context: Context) -> str:
    """Name of the ceiling for rates in the usual format."""
    return f"matmul {usual(context)}"


def usual(context: Context) -> str:
    """The best format of the device: bf16 on a GPU; in miniature fp32, which every CPU supports."""
    return "bf16" if context.cuda else "fp32"
