"""The gradient of a step: accumulated over parts of the batch, averaged over processes, measured and clipped."""

import math
import time
from collections.abc import Mapping
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from fromnoise.system import rng
from fromnoise.system.hardware import Hardware
from fromnoise.train.config import TrainConfig
from fromnoise.train.distributed import Processes
from fromnoise.train.pipeline import Ready
from fromnoise.train.sharding import Sharding, each, parts
from fromnoise.train.task import Task


class Gradients:
    """The gradients of a task's trained weights.

    Args:
        task: the task, whose loss is differentiated.
        weights: the trained parameters by name.
        config: uses `accumulate` and `clip`.
        seed: seed of dropout.
        hardware: determines the number format.
        processes: the processes of the run.
        places: this process's positions in the global batch.
        sharding: the sharding of the weights; None if every process holds all of them.
    """

    def __init__(
        self, task: Task, weights: Mapping[str, nn.Parameter], config: TrainConfig, seed: int, hardware: Hardware,
        processes: Processes, places: range, sharding: Sharding | None,
    ):  # fmt: skip
        self.task, self.weights, self.config, self.seed = task, weights, config, seed
        self.hardware, self.processes, self.places, self.sharding = hardware, processes, places, sharding
        self.seconds = 0.0
        """Seconds that this process computed in the last step before it first waited for the others."""

    def accumulate(self, ready: Ready, step: int) -> dict[str, Tensor]:
        """Compute the gradient of the mean loss over this process's share; returns the mean of each value."""
        x0, drawn = ready.states(), ready.drawn
        count = self.config.accumulate
        size = len(x0) // count
        totals: dict[str, Tensor] = {}
        self.seconds = 0.0
        for i in range(count):
            own = slice(i * size, (i + 1) * size)
            place = self.processes.rank * count + i
            torch.manual_seed(rng.integer(self.seed, place, step, rng.Stream.DROPOUT))
            last = i + 1 == count
            with nullcontext() if last else self.processes.local_gradients(self.task.network):
                started = time.perf_counter()
                with self.hardware.autocast():
                    values = self.task.losses(x0[own], {k: v[own] for k, v in drawn.items()})
                if self.sharding is None:  # otherwise processes wait for each other while blocks are gathered
                    self.seconds += time.perf_counter() - started
                means = {name: value.mean() / count for name, value in values.items()}
                means["loss"].backward()
            for name, mean in means.items():
                mean = mean.detach()
                totals[name] = totals[name] + mean if name in totals else mean
        self.processes.average_gradients(self.task.extra_parameters())
        self.task.finish(step, self.places, self.config.batch_size, self.processes)
        return totals

    def size(self) -> Tensor:
        """A number [] whose mean over the processes is the gradient's norm (with sharding: the norm's square)."""
        if self.sharding is not None:
            return self.sharding.square_norm(self._own())
        self._norm = torch.nn.utils.get_total_norm(self._own())
        return self._norm

    def clip(self, mean: float) -> float:
        """Scale the gradient down to the largest allowed norm; returns its norm before scaling.

        Args:
            mean: the mean of `size` over the processes.
        """
        norm, most = mean if self.sharding is None else math.sqrt(mean), self.config.clip
        if not norm > most or not math.isfinite(norm):
            return norm
        if self.sharding is None:
            torch.nn.utils.clip_grads_with_norm_(self.weights.values(), most, self._norm)
        else:
            each(torch._foreach_mul_, parts(self._own()), most / (norm + 1e-6))
        return norm

    def _own(self) -> list[Tensor]:
        return [w.grad for w in self.weights.values() if w.grad is not None]
