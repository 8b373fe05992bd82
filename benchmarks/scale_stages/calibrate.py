"""Measures this machine's speed: each operation of a step at its shapes, memory bandwidth, and gloo collectives.

All processes of a group measure at the same time, so the figures include what they take from each other. A round times
everything once and is as short as a few steps, so other work on the machine affects a round and the neighbouring step
alike.
"""

import time
from collections.abc import Callable

import torch
import torch.distributed as dist

from scale_stages.collectives import Measured, line
from scale_stages.machines import Timed
from scale_stages.tracing import COMPUTED, GATHER, REDUCE, SCATTER, Trace, rebuilt

SIZES = (64, 8, 1)
"""Collectives are timed at 1/64, 1/8 and the full size of the largest of their kind."""
WORDS = 2**22
"""Elements of each of two tensors; timing their sum gives the memory bandwidth."""


def clocked(run: Callable[[], object]) -> tuple[float, float]:
    """(wall seconds, CPU seconds of this thread) of one run, after a warm-up run."""
    run()
    started, given = time.perf_counter(), time.thread_time()
    run()
    return time.perf_counter() - started, time.thread_time() - given


@torch.no_grad()
def operations(trace: Trace) -> tuple[Timed, Timed]:
    """One round: time the operations of a trace whose events have keys; returns clocks in wall and in CPU seconds."""
    wall: dict = {}
    own: dict = {}
    for event in trace.events:
        if event.kind not in COMPUTED or event.key is None or event.key in wall:
            continue
        try:
            func, args, kwargs = rebuilt(event.key)
            wall[event.key], own[event.key] = clocked(lambda: func(*args, **kwargs))
        except (RuntimeError, IndexError, TypeError, ValueError):
            continue  # not callable with random numbers: estimated by its bytes
    a, b = torch.ones(WORDS), torch.ones(WORDS)
    seconds, given = clocked(lambda: torch.add(a, b))
    return Timed(wall, 12 * WORDS / seconds), Timed(own, 12 * WORDS / given)


def collectives(trace: Trace) -> Measured:
    """One round: fit the links to collectives of three sizes of each kind."""
    world = dist.get_world_size()
    fits = {}
    for kind in (GATHER, SCATTER, REDUCE):
        largest = max((e.size for e in trace.collectives(kind)), default=2**20)
        points = []
        for share in SIZES:
            n = max(largest // 4 // share // world * world, world)
            whole, part = torch.ones(n), torch.ones(n // world)
            run = {
                GATHER: lambda whole=whole, part=part: dist.all_gather_into_tensor(whole, part),
                SCATTER: lambda whole=whole, part=part: dist.reduce_scatter_tensor(part, whole),
                REDUCE: lambda whole=whole: dist.all_reduce(whole),
            }[kind]
            dist.barrier()
            points.append((4.0 * n, clocked(run)[0]))
        fits[kind] = line(points)
    return Measured(fits)


class Host:
    """The cost of FSDP2's own Python per block of a step, measured on eight tiny blocks and their parent."""

    def __init__(self):
        from torch.distributed.fsdp import fully_shard

        self.blocks = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(8)))
        for part in (*self.blocks, self.blocks):
            fully_shard(part)

    def seconds(self) -> float:
        """CPU seconds per block."""
        x = torch.ones(2, 8)
        return clocked(lambda: self.blocks(x).sum().backward())[1] / (1 + len(self.blocks))
