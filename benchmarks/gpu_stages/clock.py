"""Seconds on a device that works on while Python goes on."""

import gc
import statistics
import time
from collections.abc import Callable

import torch


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median(call: Callable[[], object], device: torch.device, budget: float = 1.0, turns: int = 5,
           warm: int = 2) -> float:  # fmt: skip
    """Median seconds of a call: `turns` groups of calls that fill the budget, after `warm` calls and one more.

    A network that is a CUDA graph is translated at the first call, recorded at the second and played from the third on.
    """
    for _ in range(warm):
        call()
    once = timed(call, device)
    each = max(1, min(1000, int(budget / turns / max(once, 1e-6))))
    return statistics.median(timed(call, device, each) for _ in range(turns))


def timed(call: Callable[[], object], device: torch.device, times: int = 1) -> float:
    """Seconds of a call, the mean of so many in a row, from an idle device to an idle device."""
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        call()
    wait(device)
    return (time.perf_counter() - start) / times


def forget(device: torch.device) -> None:
    """Give back what nobody holds any more, and forget the peak of it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> float:
    """GB that tensors held at most since `forget`; 0 on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
