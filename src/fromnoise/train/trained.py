"""What a run trains: the weights with their gradient, their optimiser and their average."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fromnoise.nn.recompute import recompute_blocks
from fromnoise.system.hardware import Hardware
from fromnoise.train import suitable
from fromnoise.train.config import TrainConfig
from fromnoise.train.distributed import Processes
from fromnoise.train.ema import EMA
from fromnoise.train.optimizers.making import build as build_optimizer
from fromnoise.train.sharding import Sharding, agreed, each, parts
from fromnoise.train.task import Task


class Trained:
    """The weights of a task, moved to the device: whole and alike in every process, or sharded over the processes.

    Args:
        task: the task whose network is trained.
        config: uses `shard`, `gradient_checkpointing`, `clip`, `ema` and the optimiser's values.
        hardware: device and number format.
        processes: the processes of the run.
        optimizer: an object, class or function that overrides the configured optimiser.

    Attributes:
        network: the task's network, not wrapped.
        weights: the trained parameters by name.
        every: all parameters by name.
        sharding: the sharding of the weights; None if every process holds all of them.
        optimizer, ema: act on `weights`.

    Raises:
        FromNoiseError: the weights cannot be trained.
    """

    def __init__(self, task: Task, config: TrainConfig, hardware: Hardware, processes: Processes, optimizer: Any):
        self.task, self.hardware, self.processes, self.most = task, hardware, processes, config.clip
        self.network = task.network
        suitable.check_weights(task.weights())
        shard = agreed(config.shard, task, hardware.device, processes)
        if config.gradient_checkpointing:
            recompute_blocks(self.network)
        self.sharding: Sharding | None = None
        if shard == "none":
            hardware.prepare(self.network, inference=False)
            processes.alike(self.network)  # before it is averaged
        else:
            self.sharding = Sharding(self.network, shard, hardware.device, hardware.dtype)
        self.every = task.weights()
        self.weights = {name: p for name, p in self.every.items() if p.requires_grad}
        self.ema = EMA(self.weights, config.ema, self.every)
        self.optimizer = build_optimizer(optimizer or config.optimizer, self.weights, config)

    def size(self) -> Tensor:
        """A number [] whose mean over the processes is the gradient's norm (with sharding: the norm's square)."""
        if self.sharding is not None:
            return self.sharding.square_norm(self._gradient())
        self._norm = torch.nn.utils.get_total_norm(self._gradient())
        return self._norm

    def clip(self, mean: float) -> float:
        """Scale the gradient down to the largest allowed norm; returns its norm before scaling.

        Args:
            mean: the mean of `size` over the processes.
        """
        norm, most = mean if self.sharding is None else math.sqrt(mean), self.most
        if not norm > most or not math.isfinite(norm):
            return norm
        if self.sharding is None:
            torch.nn.utils.clip_grads_with_norm_(self.weights.values(), most, self._norm)
        else:
            each(torch._foreach_mul_, parts(self._gradient()), most / (norm + 1e-6))
        return norm

    def _gradient(self) -> list[Tensor]:
        return [w.grad for w in self.weights.values() if w.grad is not None]

    def step(self, step: int, lr: float) -> None:
        """theta <- theta - lr * (the optimiser's direction); the average follows (see `EMA.update`)."""
        self.optimizer.step(lr)
        self.ema.update(step)

    def forget_gradient(self) -> None:
        for weight in self.weights.values():
            weight.grad = None

    def settle(self) -> None:
        """Update the average together: a weight that is not finite in one process stops all at the same point."""
        if self.processes.world > 1:
            self.ema.settle(self.processes.sum(self.ema.largest.double().reshape(1)).item())

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averaged weights inside the block, without DDP's wrapper, which would wait for other processes."""
        wrapped, self.task.network = self.task.network, self.network
        try:
            with self.ema.applied(), self.hardware.autocast():
                yield
        finally:
            self.task.network = wrapped
            self.task.train()

    def leave_averaged(self, gather: bool) -> None:
        """Leave the model with its averaged weights, in evaluation mode; all processes must call this.

        Args:
            gather: whether sharded weights are gathered on the CPU.
        """
        self.settle()
        self.ema.apply()
        if self.sharding is not None and gather:
            self.task.network = self.sharding.gathered(self.network.state_dict())
        self.task.model.eval()
