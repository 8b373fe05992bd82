"""A training step as the trainer takes it, on fake tensors and in a group of which only one process exists.

FSDP2, the optimisers and the averaged weights are the library's own code. DDP would need real numbers, so its rule for
buckets is reimplemented.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.nn.recompute import recompute_blocks
from fromnoise.train.config import TrainConfig
from fromnoise.train.ema import EMA
from fromnoise.train.optimizers.making import build
from fromnoise.train.sharding import Sharding, local, parts
from scale_stages.tracing import REDUCE, Event, Trace, Tracer
from scale_stages.workloads import Workload, as_on_cuda

AGREED = 8
"""Numbers that processes share once per step: the loss and its parts, the norm, the time, whether to stop."""


@dataclass(frozen=True)
class Layout:
    """How a run is distributed over devices.

    Attributes:
        devices: number of devices, with one process each.
        per_node: devices per machine.
        shard: as in `train.shard`: none is DDP, full is FSDP2 over all devices, hybrid is FSDP2 inside each machine
            and replication across machines.
        batch: examples per step and device.
        accumulate: parts in which a device processes its batch.
        recompute: whether to use gradient checkpointing.
        precision: fp32 or bf16.
        optimizer: adamw or muon.
        ema: whether to average the weights.
        device: cpu or cuda, which selects the kernels where fromnoise's differ.

    Raises:
        FromNoiseError: if these do not fit together.
    """

    devices: int = 1
    per_node: int = 8
    shard: str = "none"
    batch: int = 32
    accumulate: int = 1
    recompute: bool = False
    precision: str = "bf16"
    optimizer: str = "adamw"
    ema: bool = True
    device: str = "cuda"

    def __post_init__(self):
        if min(self.devices, self.per_node, self.batch, self.accumulate) < 1:
            raise FromNoiseError("devices, devices of a machine, batch and accumulate must be 1 or more")
        if self.batch % self.accumulate:
            raise FromNoiseError(f"a batch of {self.batch} on each device does not divide into {self.accumulate} parts")
        if self.devices > self.per_node and self.devices % self.per_node:
            raise FromNoiseError(f"{self.devices} devices do not fill machines of {self.per_node}")

    @property
    def inside(self) -> int:
        """Devices of a machine that take part in the run."""
        return min(self.devices, self.per_node)

    @property
    def nodes(self) -> int:
        return self.devices // self.inside

    @property
    def parts(self) -> int:
        """Number of parts into which a weight is sharded."""
        return {"none": 1, "full": self.devices, "hybrid": self.inside}[self.shard]

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


class Step:
    """A workload's network, distributed by a layout, with its optimiser and averaged weights."""

    def __init__(self, workload: Workload, layout: Layout):
        self.workload, self.layout, self.network = workload, layout, workload.network
        if layout.recompute:
            recompute_blocks(self.network)
        self.sharding = None
        if layout.parts > 1:
            self.sharding = Sharding(self.network, layout.shard, torch.device("cpu"), layout.dtype)
        self.weights = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
        self.ema = EMA(self.weights, 0.9999) if layout.ema else None
        self.optimizer = build(layout.optimizer, self.weights, TrainConfig())

    def held(self) -> Iterator[Tensor]:
        """Tensors that exist before the first step."""
        average = self.ema.average if self.ema is not None else []
        for tensor in (*self.network.parameters(), *self.network.buffers(), *average):
            yield local(tensor.detach())

    def prime(self) -> None:
        """Create the optimiser's state, as after a first step."""
        for p in self.weights.values():
            p.grad = torch.zeros_like(p)
        self._update(scaled=False)

    def take(self, tracer: Tracer) -> None:
        """Take one step."""
        count = self.layout.accumulate
        for _ in range(count):
            tracer.phase = "forward"
            with torch.autocast("cpu", torch.bfloat16, enabled=self.layout.dtype == torch.bfloat16):
                loss = self.workload.loss(self.network, self.layout.batch // count) / count
            tracer.trace.after_forward = tracer.bytes
            tracer.phase = "backward"
            loss.backward()
        tracer.phase = "update"
        self._update()

    @torch.no_grad()
    def _update(self, scaled: bool = True) -> None:
        gradients = [p.grad for p in self.weights.values() if p.grad is not None]
        if self.sharding is not None:
            self.sharding.square_norm(gradients)
        else:
            torch.nn.utils.get_total_norm(gradients)
        if self.ema is not None:
            self.ema.settle(1.0)
        if scaled:
            torch._foreach_mul_(parts(gradients), 1.0)
        self.optimizer.step(1e-4)
        if self.ema is not None:
            self.ema.update(1)
        for p in self.weights.values():
            p.grad = None


def traced(workload: Workload, layout: Layout, keys: bool = False) -> Trace:
    """Trace a step in the steady state.

    Args:
        workload: the workload; its network is modified.
        layout: the layout.
        keys: whether to keep the shapes of arguments, so that operations can be timed.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    tracer = Tracer(keys)
    norms = as_on_cuda() if layout.device == "cuda" else nullcontext()
    with pretended(layout), norms, FakeTensorMode(allow_non_fake_inputs=True):
        workload.network.to_empty(device="cpu")
        step = Step(workload, layout)
        with tracer:
            tracer.watch(step.held())
            if layout.parts == 1:
                _tell_gradients(step, tracer)
            step.prime()
            tracer.start()
            step.take(tracer)
            trace = tracer.finish()
    return with_others(trace, [4 * p.numel() for p in step.weights.values()], layout)


@contextmanager
def pretended(layout: Layout) -> Iterator[None]:
    """A process group of which only the first process exists; its device meshes hold real numbers."""
    if layout.parts == 1:
        yield
        return
    from torch._subclasses.fake_tensor import unset_fake_temporarily
    from torch.distributed import device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    make, before = device_mesh.init_device_mesh, os.environ.get("LOCAL_WORLD_SIZE")

    def made(*args, **options):
        with unset_fake_temporarily():
            return make(*args, **options)

    chunk = torch.chunk

    def first(tensor, chunks, dim=0):
        """Return the first process' part for all: FSDP2 cuts weights for every process, but uses only its own part."""
        size = max(1, -(-tensor.shape[dim] // chunks))
        return (tensor.narrow(dim, 0, min(size, tensor.shape[dim])),) * -(-tensor.shape[dim] // size)

    device_mesh.init_device_mesh, torch.chunk = made, first
    os.environ["LOCAL_WORLD_SIZE"] = str(layout.inside)
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=layout.devices)
    try:
        yield
    finally:
        dist.destroy_process_group()
        device_mesh.init_device_mesh, torch.chunk = make, chunk
        os.environ.pop("LOCAL_WORLD_SIZE")
        if before is not None:
            os.environ["LOCAL_WORLD_SIZE"] = before


def _tell_gradients(step: Step, tracer: Tracer) -> None:
    for number, p in enumerate(step.weights.values()):

        def ready(_, number=number):
            if tracer.recording:
                tracer.trace.gradients.append((number, len(tracer.trace.events)))

        p.register_post_accumulate_grad_hook(ready)


FIRST, OTHERS = 2**20, 25 * 2**20
"""Bytes at which a DDP bucket is full: the first one, and the others."""


def buckets(sizes: list[int]) -> list[list[int]]:
    """DDP's buckets: takes the sizes of gradients in the order they are ready, and returns their indices per bucket."""
    found: list[list[int]] = [[]]
    held = 0
    for number, size in enumerate(sizes):
        found[-1].append(number)
        held += size
        if held >= (FIRST if len(found) == 1 else OTHERS):
            held = 0
            found.append([])
    return [bucket for bucket in found if bucket]


def with_others(trace: Trace, sizes: list[int], layout: Layout) -> Trace:
    """Add to a trace what other processes cause.

    For DDP these are its buckets, which are held all the time, a copy of each gradient into them and back, and an
    all-reduce of each full bucket. For all layouts, it is the small all-reduce for which every process waits.
    """
    if layout.devices == 1:
        return trace
    events = list(trace.events)
    more = 0
    if layout.parts == 1:
        last, at, more = trace.gradients[-len(sizes) :], 0, sum(sizes)  # of the last accumulated part
        for bucket in buckets([sizes[number] for number, _ in last]):
            size = sum(sizes[last[i][0]] for i in bucket)
            place = last[bucket[-1]][1] + at
            events[place:place] = [Event("other", "DDP.copy", "backward", moved=2 * size),
                                   Event(REDUCE, "DDP.reduce", "backward", size=size)]  # fmt: skip
            at += 2
    update = next(i for i, e in enumerate(events) if e.phase == "update")
    if more:
        events.insert(update, Event("other", "DDP.copy", "update", moved=2 * more))
    events.insert(update, Event(REDUCE, "agreement", "update", size=8 * AGREED * layout.devices))
    return replace(trace, events=events, peak=trace.peak + more, at_rest=trace.at_rest + more,
                   after_forward=trace.after_forward + more)  # fmt: skip
