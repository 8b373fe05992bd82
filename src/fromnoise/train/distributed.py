"""Training in one process or, with `torchrun`, in many, each of which takes its share of the batch."""

import inspect
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fromnoise.errors import TrainingError

if TYPE_CHECKING:
    from fromnoise.train.pulse import Pulse

_PATIENCE = timedelta(hours=12)
"""Timeout of collectives: one process may download a data set or evaluate 50,000 images while the others wait. Real
failures are noticed by `Pulse` within a minute."""
_LONGEST = 512
"""Most bytes of a line that processes exchange."""


def raw(network: nn.Module) -> nn.Module:
    """The network itself, without the wrapper of data-parallel training."""
    return network.module if isinstance(network, DistributedDataParallel) else network


def is_of_a_peer(error: BaseException) -> bool:
    """Whether an error means that the connection to another process broke.

    Gloo raises plain RuntimeErrors, whose text begins with the location in its source, [.../gloo/...].
    """
    place = str(error).partition("]")[0]
    return isinstance(error, dist.DistError) or (type(error) is RuntimeError and place[:1] == "[" and "gloo" in place)


_running: "Processes | None" = None
"""The connected processes: a training inside another one's block shares its `Pulse` and its `writers`."""


class Processes:
    """The processes of this run, according to torchrun's environment variables; without them, a single process."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.on_node = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        self.device = torch.device("cpu")
        self.pulse: Pulse | None = None
        self._outer: Processes | None = None

    @contextmanager
    def started(self, device: torch.device, config: Mapping[str, Any] | None = None) -> Iterator["Processes"]:
        """Connect the processes inside the block, with NCCL on CUDA and Gloo elsewhere.

        Inside another such block, its connection is used, because processes that disconnected cannot connect again.

        Args:
            device: device of this process.
            config: JSON values by name, which must be the same in all processes.

        Raises:
            FromNoiseError: the processes have different code or configurations.
            TrainingError: another process ended.
        """
        global _running
        self.device = device
        if self.world == 1 or dist.is_initialized():
            self._outer = _running
            self.pulse = _running.pulse if _running is not None else None
            yield self
            return
        from fromnoise.train.alike import insist_on_alike
        from fromnoise.train.pulse import Pulse

        # The store outlives a start, and torchrun's a restart; what an earlier one wrote into it must not be read.
        store = dist.PrefixStore(agreed_start(_store(), self.rank, self.world), _store())
        on_cuda = device.type == "cuda"
        if on_cuda:
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if on_cuda else "gloo", store=store, rank=self.rank, world_size=self.world,
                                device_id=device if on_cuda else None, timeout=_PATIENCE)  # fmt: skip
        self.pulse = pulse = Pulse(store, self.rank, self.world)
        with ExitStack() as ended:
            ended.callback(pulse.end)
            ended.callback(dist.destroy_process_group)
            pulse.start()
            _running = self
            ended.callback(_forget)
            insist_on_alike(device, config)
            try:
                yield self
            except BaseException as error:
                pulse.failed(error)
                if not is_of_a_peer(error):
                    raise
                raise TrainingError("another process of this run ended unexpectedly; the last checkpoint is intact: "
                                    "resume") from None  # fmt: skip

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    @cached_property
    def writers(self) -> Any:
        """A process group for the thread that writes checkpoints; all processes must request it together."""
        return self._outer.writers if self._outer is not None else dist.new_group(backend="gloo", timeout=_PATIENCE)

    def alike(self, network: nn.Module) -> None:
        """Copy the first process's weights to all processes; the network must be on the device."""
        for tensor in (*network.parameters(), *network.buffers()) if self.world > 1 else ():
            value = tensor.detach().contiguous()
            dist.broadcast(value, 0)
            tensor.data.copy_(value)

    def wrap(self, network: nn.Module) -> nn.Module:
        """Wrap the network so that its gradients are averaged over the processes."""
        if self.world == 1:
            return network
        ids = [self.device.index] if self.device.type == "cuda" else None
        renamed = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
        buffers = "forward_sync_buffers" if renamed else "broadcast_buffers"
        quiet: dict[str, Any] = {buffers: False}  # training does not change buffers
        return DistributedDataParallel(network, device_ids=ids, **quiet)

    def local_gradients(self, network: nn.Module) -> Any:
        """A context in which backward passes do not average gradients over the processes."""
        return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()

    def agree(
        self, values: list[float], flag: int, seconds: float, own: float
    ) -> tuple[list[float], int, float, list[float]]:
        """(mean of each value over the processes, largest flag, largest `seconds`, every process's `own` seconds)."""
        if self.world == 1:
            return values, flag, seconds, [own]
        every = torch.zeros(self.world, len(values) + 3, dtype=torch.float64)
        every[self.rank] = torch.tensor([flag, seconds, own, *values], dtype=torch.float64)
        every = every.to(self.device)
        dist.all_reduce(every)
        every = every.cpu()
        return (every[:, 3:].mean(0).tolist(), int(every[:, 0].max().item()), every[:, 1].max().item(),
                every[:, 2].tolist())  # fmt: skip

    def whole(self, part: torch.Tensor, places: range, size: int) -> torch.Tensor:
        """The vector [size] whose entries at `places` are this process's `part`, and the others those of the others."""
        vector = torch.zeros(size, dtype=torch.float64)
        vector[places.start : places.stop] = part.cpu().double()
        return self.sum(vector)

    def sum(self, vector: torch.Tensor) -> torch.Tensor:
        """The sum of all processes' vectors, on the CPU."""
        if self.world > 1:
            vector = vector.to(self.device)
            dist.all_reduce(vector)
        return vector.cpu()

    def of_first(self, number: int) -> int:
        """The first process's number, in every process."""
        return int(self.sum(torch.tensor([number if self.is_first else 0])).item())

    def said(self, text: str) -> str:
        """The text of the first process that has one; "" if none has."""
        if self.world == 1:
            return text
        lines = torch.zeros(self.world, _LONGEST, dtype=torch.uint8)
        content = text.encode()[:_LONGEST]
        lines[self.rank, : len(content)] = torch.tensor(list(content), dtype=torch.uint8)
        found = (bytes(line.tolist()).rstrip(b"\0").decode(errors="ignore") for line in self.sum(lines))
        return next((line for line in found if line), "")

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Average the gradients of parameters outside the wrapped network: a learned schedule's, on the CPU."""
        for p in parameters if self.world > 1 else ():
            grad = (torch.zeros_like(p) if p.grad is None else p.grad).to(self.device)
            dist.all_reduce(grad)
            p.grad = (grad / self.world).to(p.device)

    def step_began(self, longest: float | None, usual: bool = True) -> None:
        """See `Pulse.began`."""
        if self.pulse is not None:
            self.pulse.began(longest, usual)

    def wait(self) -> None:
        """Wait until every process has called this."""
        if self.world > 1:
            dist.barrier()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let the first process run the block before the others, so that a download happens once."""
        if self.world > 1 and not self.is_first:
            dist.barrier()
        yield
        if self.world > 1 and self.is_first:
            dist.barrier()


@cache
def _store() -> Any:
    """The store in which the processes meet; one for all starts, since a second one would find the first one's port."""
    return next(dist.rendezvous("env://"))[0]


def agreed_start(store: Any, rank: int, world: int) -> str:
    """A name for this start, the same in all processes and new each time: what an earlier one left in the store, which
    torchrun keeps over restarts, is not read.

    Every other process asks with a number of its own, and the first one answers whoever asks until all have heard it.
    torchrun's count of restarts will not do: each machine has its own.
    """
    if rank:
        asked = secrets.token_hex(8)
        store.set(f"asks/{rank}", asked)
        store.wait([f"told/{asked}"], _PATIENCE)
        start = store.get(f"told/{asked}").decode()
        store.set(f"heard/{start}/{rank}", "")
        return start
    start, others = secrets.token_hex(8), range(1, world)
    answered: set[str] = set()
    until = time.monotonic() + _PATIENCE.total_seconds()
    while not all(store.check([f"heard/{start}/{other}"]) for other in others):
        for other in others:
            asked = store.get(f"asks/{other}").decode() if store.check([f"asks/{other}"]) else ""
            if asked and asked not in answered:
                store.set(f"told/{asked}", start)
                answered.add(asked)
        if time.monotonic() > until:
            raise TrainingError("not all processes of this run have started")
        time.sleep(0.02)
    return start


def _forget() -> None:
    global _running
    _running = None
