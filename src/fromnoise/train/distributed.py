"""One process or many: under `torchrun` each takes its share of the batch."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fromnoise.errors import TrainingError

_PATIENCE = timedelta(hours=12)
"""One process may download a data set or look at 50,000 images while the others wait; that is no failure."""


def raw(network: nn.Module) -> nn.Module:
    """The network itself, whether or not it was wrapped."""
    return network.module if isinstance(network, DistributedDataParallel) else network


def _is_of_a_peer(error: RuntimeError) -> bool:
    """Whether the connection to another process broke: Gloo's errors are plain ones, and only their words tell."""
    return isinstance(error, dist.DistError) or any(
        words in str(error) for words in ("closed by peer", "reset by peer", "gloo", "NCCL", "Broken pipe")
    )


class Processes:
    """The processes of this run, as torchrun's environment tells; a run of one needs nothing."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.device = torch.device("cpu")

    @contextmanager
    def started(self, device: torch.device) -> Iterator["Processes"]:
        """Connected to the others inside the block: NCCL on CUDA, Gloo elsewhere. Inside another such block, as there:
        processes that parted do not find each other a second time."""
        self.device = device
        if self.world == 1 or dist.is_initialized():
            yield self
            return
        if device.type == "cuda":
            torch.cuda.set_device(device)
            dist.init_process_group("nccl", device_id=device, timeout=_PATIENCE)
        else:
            dist.init_process_group("gloo", timeout=_PATIENCE)
        try:
            yield self
        except RuntimeError as error:
            if not _is_of_a_peer(error):
                raise
            raise TrainingError("another process of this run ended unexpectedly; the last checkpoint is intact: "
                                "resume") from None  # fmt: skip
        finally:
            dist.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with its gradients averaged over the processes."""
        if self.world == 1:
            return network
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=ids, broadcast_buffers=False)  # training changes none

    def local_gradients(self, network: nn.Module) -> Any:
        """A context in which a backward pass does not yet talk to the other processes."""
        return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()

    def agree(self, values: list[float], flag: int, seconds: float) -> tuple[list[float], int, float]:
        """The mean of each number over the processes, and the largest flag and time of any."""
        if self.world == 1:
            return values, flag, seconds
        every = torch.zeros(self.world, len(values) + 2, dtype=torch.float64)
        every[self.rank] = torch.tensor([flag, seconds, *values], dtype=torch.float64)
        every = every.to(self.device)
        dist.all_reduce(every)
        every = every.cpu()
        return every[:, 2:].mean(0).tolist(), int(every[:, 0].max().item()), every[:, 1].max().item()

    def whole(self, part: torch.Tensor, places: range, size: int) -> torch.Tensor:
        """A vector [size] whose entries `places` are this process' `part`, and the others those of the others."""
        vector = torch.zeros(size, dtype=torch.float64)
        vector[places.start : places.stop] = part.cpu().double()
        if self.world > 1:
            vector = vector.to(self.device)
            dist.all_reduce(vector)
        return vector.cpu()

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """For parameters that `wrap` does not know of: a learned schedule's, which stay on the CPU."""
        for p in parameters if self.world > 1 else ():
            grad = (torch.zeros_like(p) if p.grad is None else p.grad).to(self.device)
            dist.all_reduce(grad)
            p.grad = (grad / self.world).to(p.device)

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            dist.barrier()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process runs the block before the others do: downloads happen once."""
        if self.world > 1 and not self.is_first:
            dist.barrier()
        yield
        if self.world > 1 and self.is_first:
            dist.barrier()
