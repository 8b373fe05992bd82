"""What this machine does in a second: each operation of a step at its shapes, memory, and collectives of gloo.

All processes of a group measure at the same time, so that what they take from each other is in the figures. A round
times each thing once, and is as short as a few steps: what else the machine does falls on a round and on the step
beside it alike.
"""

import time
from collections.abc import Callable

import torch
import torch.distributed as dist

from scale_stages.collectives import Measured, line
from scale_stages.machines import Timed
from scale_stages.tracing import COMPUTED, GATHER, REDUCE, SCATTER, Trace, rebuilt

SIZES = (64, 8, 1)
"""Collectives are timed with a 64th, an eighth and the whole of the largest of their kind."""
WORDS = 2**22
"""Numbers of each of two tensors whose sum says how many bytes a second memory reads and writes."""


def clocked(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of one run, after one that does not count; and those of the processor that this thread was given."""
    run()
    started, given = time.perf_counter(), time.thread_time()
    run()
    return time.perf_counter() - started, time.thread_time() - given


@torch.no_grad()
def operations(trace: Trace) -> tuple[Timed, Timed]:
    """A round: clocks for the trace, whose events have keys, in seconds and in those of the processor."""
    wall: dict = {}
    own: dict = {}
    for event in trace.events:
        if event.kind not in COMPUTED or event.key is None or event.key in wall:
            continue
        try:
            func, args, kwargs = rebuilt(event.key)
            wall[event.key], own[event.key] = clocked(lambda: func(*args, **kwargs))
        except (RuntimeError, IndexError, TypeError, ValueError):
            continue  # one that needs more than numbers: by its bytes
    a, b = torch.ones(WORDS), torch.ones(WORDS)
    seconds, given = clocked(lambda: torch.add(a, b))
    return Timed(wall, 12 * WORDS / seconds), Timed(own, 12 * WORDS / given)


def collectives(trace: Trace) -> Measured:
    """A round: links, from collectives of three sizes of each kind."""
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
    """What FSDP2's own Python costs for each block of a step: of eight tiny blocks and the whole."""

    def __init__(self):
        from torch.distributed.fsdp import fully_shard

        self.blocks = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(8)))
        for part in (*self.blocks, self.blocks):
            fully_shard(part)

    def seconds(self) -> float:
        """Of the processor, for a block."""
        x = torch.ones(2, 8)
        return clocked(lambda: self.blocks(x).sum().backward())[1] / (1 + len(self.blocks))
