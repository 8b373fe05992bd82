"""Timing on a device that computes asynchronously."""

import gc
import statistics
import time
from collections.abc import Callable

import torch


def wait(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median(call: Callable[[], object], device: torch.device, budget: float = 1.0, turns: int = 5,
           warm: int = 2) -> float:  # fmt: skip
    """Median seconds of a call, over `turns` groups of calls that fill the budget, after `warm` + 1 calls.

    A network that becomes a CUDA graph is compiled at the first call, recorded at the second and replayed from the
    third on.
    """
    for _ in range(warm):
        call()
    once = timed(call, device)
    each = max(1, min(1000, int(budget / turns / max(once, 1e-6))))
    return statistics.median(timed(call, device, each) for _ in range(turns))


def timed(call: Callable[[], object], device: torch.device, times: int = 1) -> float:
    """Mean seconds of `times` calls in a row, from an idle device to an idle device."""
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        call()
    wait(device)
    return (time.perf_counter() - start) / times


def forget(device: torch.device) -> None:
    """Free unused memory and reset the peak."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> float:
    """Peak memory of tensors in GB since `forget`; 0 on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
