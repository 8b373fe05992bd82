"""Choose the device on which a network runs and its number format from what the machine has."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fromnoise.errors import unknown

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Hardware:
    """A device and the type in which the network computes; states and weights stay float32.

    Attributes:
        device: cuda, mps or cpu.
        dtype: torch.bfloat16 or torch.float32.
        why: the reason for the choice, in one line for the user.
    """

    device: torch.device
    dtype: torch.dtype
    why: str

    def prepare(self, network: nn.Module, inference: bool) -> nn.Module:
        """Move the network to the device, image kernels in channels_last; for inference its weights are cast once."""
        network.to(self.device)
        if self.device.type != "mps":
            for p in network.parameters():  # image kernels have four axes
                p.data = p.data.to(memory_format=torch.channels_last) if p.dim() == 4 else p.data
        return network.to(self.dtype) if inference else network

    def put(self, x: Tensor) -> Tensor:
        """Copy a tensor from the CPU to the device."""
        if self.device.type == "cuda":
            x = x.pin_memory()
        return x.to(self.device, non_blocking=True)

    def autocast(self) -> torch.autocast:
        """The context in which a training step runs the network."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)


def choose(precision: Precision = "auto") -> Hardware:
    """This process's CUDA device (torchrun's LOCAL_RANK), else Apple's GPU, else the CPU; bf16 where it is native.

    This changes no settings; see `tune`. `precision` "fp32" or "bf16" sets the number format instead of "auto". On a
    CPU without AMX or AVX-512 BF16, bf16 is emulated and several times slower than float32, so "auto" takes float32.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise unknown("precision", precision, ("auto", "fp32", "bf16"))
    if torch.cuda.is_available():
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        device = torch.device("cuda", local_rank % torch.cuda.device_count())
        native, name = torch.cuda.get_device_capability(device) >= (8, 0), torch.cuda.get_device_name(device)
    elif torch.backends.mps.is_available():
        device, native, name = torch.device("mps"), False, "Apple GPU"
    else:
        device, native, name = torch.device("cpu"), cpu_has_bf16(), f"CPU, {torch.get_num_threads()} threads"
    use_bf16 = native if precision == "auto" else precision == "bf16"
    detail = "bf16" if use_bf16 else "fp32"
    if precision == "auto":
        detail += " (native)" if native else " (no native bf16)"
    return Hardware(device, torch.bfloat16 if use_bf16 else torch.float32, f"{name}, {detail}")


def tune(precision: Precision = "auto") -> None:
    """Set this process's switches for speed. Every command calls this first; the library itself never does.

    On CUDA, float32 products use the tensor cores' TF32 (10 bits of mantissa), or IEEE float32 if `precision` is
    "fp32", and convolutions of each shape are timed once to find the fastest kernel. On a Linux CPU the C library keeps
    the memory that tensors free for the tensors of the next step.
    """
    if torch.cuda.is_available():
        set_float32(exact=precision == "fp32")
        torch.backends.cudnn.benchmark = True
    elif not torch.backends.mps.is_available():
        _keep_freed_memory()


def set_float32(exact: bool) -> None:
    """Choose how CUDA multiplies float32: in IEEE float32, or in TF32.

    Matrix products are set with PyTorch's older switch: torch.compile reads it, and fails to once the newer one is set.
    """
    torch.set_float32_matmul_precision("highest" if exact else "high")
    for place in _cudnn():
        place.fp32_precision = "ieee" if exact else "tf32"


@contextmanager
def exact_float32(exact: bool = True) -> Iterator[None]:
    """IEEE float32 on CUDA inside the block (TF32 if `exact` is False), whatever `tune` has set; restored afterwards.

    Features are extracted in it, since their distances are published.
    """
    products, others = torch.get_float32_matmul_precision(), [place.fp32_precision for place in _cudnn()]
    try:
        set_float32(exact)
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        for place, value in zip(_cudnn(), others, strict=True):
            place.fp32_precision = value


def _cudnn() -> tuple[Any, Any]:
    """The switches of convolutions and recurrent networks, set alike because they share one older switch."""
    return torch.backends.cudnn.conv, torch.backends.cudnn.rnn  # pyrefly: ignore[missing-attribute]


def cpu_has_bf16() -> bool:
    """Whether the CPU has AMX or AVX-512 BF16 instructions, according to PyTorch's own probes."""
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def peak_memory(device: torch.device) -> str:
    """The end of a log line: this process's peak memory, the GPU's or else the machine's; "" if unknown."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    elif sys.platform == "win32":
        return ""
    else:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return f", {peak / 1e9:.2f} GB of memory at most"


@cache
def _keep_freed_memory() -> None:
    """Have the C library keep the memory that tensors free, for the next step's tensors of the same sizes.

    By default glibc returns it to the kernel, which then provides every page of the next step anew, filled with zeros:
    24,000 page faults in a step of the recipe `digits`, 7 % of two cores' time. Other systems are left unchanged.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25)  # older releases allow no more
