"""Training, made to survive: the loop that every run goes through."""

import errno
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fromnoise.data.examples import Batches, Examples
from fromnoise.data.feed import Feed
from fromnoise.errors import FromNoiseError, TrainingError
from fromnoise.nn.recompute import recompute_blocks
from fromnoise.system.hardware import Hardware
from fromnoise.train import lr_schedules, suitable
from fromnoise.train.by_level import gathered, read
from fromnoise.train.config import TrainConfig
from fromnoise.train.distributed import Processes
from fromnoise.train.ema import EMA
from fromnoise.train.gradients import Gradients
from fromnoise.train.log import MetricsLog
from fromnoise.train.lr_schedules.base import LRSchedule
from fromnoise.train.optimizers.making import build as build_optimizer
from fromnoise.train.pipeline import Pipeline, Ready
from fromnoise.train.progress import Progress, Watcher
from fromnoise.train.saving import Saving
from fromnoise.train.sharding import Sharding, agreed
from fromnoise.train.signals import StopRequest
from fromnoise.train.stragglers import Stragglers
from fromnoise.train.task import Task
from fromnoise.train.validation import held_out_loss
from fromnoise.weights.checkpoint import Checkpoints

_ENOUGH = 256  # above the numbers of all signals


@dataclass
class Trainer:
    """Stochastic gradient descent on a task's loss, with clipping, EMA and checkpoints.

    What is drawn for an example is a function of (seed, step, its place in the global batch), so that
    `accumulate`, loader workers and the number of processes do not change it. Dropout is seeded for each
    step and part, so that a run that resumes repeats it; the caller's random state is as it was afterwards.

    Args:
        task: what is trained, in float32, and its loss.
        source: the examples.
        config: how.
        seed: of data order and dropout.
        folder: of the run; None writes nothing.
        hardware: device and number format.
        processes: this process among others.
        watcher: who is told.
        flip: mirror half of the examples.
        workers: loader processes, for examples that are not in memory.
        validation: held-out examples, on which the loss of the averaged weights is measured at every checkpoint.
        own_optimizer, own_lr_schedule: objects that hold before the configuration's names.
        notes: JSON values that every checkpoint holds, each as NAME.json.
        callbacks: called after every step with the line of the log; training ends after a step for which one is True.
    """

    task: Task
    source: Examples | Batches
    config: TrainConfig
    seed: int
    folder: Path | None
    hardware: Hardware
    processes: Processes = field(default_factory=Processes)
    watcher: Watcher = field(default_factory=Watcher)
    flip: bool = False
    workers: int = 0
    validation: Examples | None = None
    own_optimizer: Any = None
    own_lr_schedule: LRSchedule | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    callbacks: Sequence[Callable[[dict[str, Any]], Any]] = ()

    def __post_init__(self) -> None:
        c, world = self.config, self.processes.world
        if c.batch_size % (world * c.accumulate):
            raise FromNoiseError(f"train.batch_size {c.batch_size} does not divide into {world} processes "
                                 f"times train.accumulate {c.accumulate}")  # fmt: skip
        self.task.check_parts(c.batch_size // (world * c.accumulate))
        self.lr_schedule: LRSchedule = self.own_lr_schedule or lr_schedules.build(c.lr_schedule)
        if self.lr_schedule.needs_steps and c.steps is None:
            raise FromNoiseError("this learning rate schedule must know its end: give the number of steps, not minutes")
        if self.folder is not None:
            self.task.describe()  # what cannot be saved is better known now
        self.enough = False  # whether a watcher asked to end
        self.log_mark: dict[str, Any] | None = None
        self.late = 0.0  # of the last step, what came after its clock was shared
        self.progress = Progress()
        self.network = self.task.network  # raw; the task calls it through DDP where there are many
        suitable.check_weights(self.task.weights())
        shard = agreed(c.shard, self.task, self.hardware.device, self.processes)
        if c.gradient_checkpointing:
            recompute_blocks(self.network)
        self.sharding: Sharding | None = None
        if shard == "none":
            self.hardware.prepare(self.network, inference=False)
            self.processes.alike(self.network)  # before it is averaged
        else:
            self.sharding = Sharding(self.network, shard, self.hardware.device, self.hardware.dtype)
        weights = self.task.weights()
        self.weights = {name: p for name, p in weights.items() if p.requires_grad}
        if isinstance(self.source, Examples):
            suitable.check_batch(c.batch_size, self.source.shape, self.processes.on_node / world)
        self.ema = EMA(self.weights, c.ema, weights)
        self.optimizer = build_optimizer(self.own_optimizer or c.optimizer, self.weights, c)
        self.saving: Saving | None = None
        if self.folder is not None:
            checkpoints = Checkpoints(self.folder / "checkpoints", c.keep)
            self.saving = Saving(checkpoints, self.task, self.ema, self.optimizer, weights, self.notes,
                                 self.processes, self.sharding, self.watcher.say)  # fmt: skip
        pulse = self.processes.pulse if self.processes.is_first else None
        self.stragglers = Stragglers(pulse.host, self.watcher.say) if pulse is not None else None
        self.longest, self.plain = 0.0, False  # seconds of a step; whether nothing else came since the last one
        self.places = range(*(rank * c.batch_size // world for rank in (self.processes.rank, self.processes.rank + 1)))

    def resume(self) -> bool:
        """Continue from the newest whole checkpoint; whether there was one.

        Raises:
            FromNoiseError: there are checkpoints and all are damaged, or they are of another model.
        """
        found = self.saving.resume(self.folder) if self.saving is not None else None
        if found is None:
            return False
        self.progress, self.log_mark = found
        return True

    def is_finished(self) -> bool:
        """Whether the steps or the minutes asked for are done."""
        c, p = self.config, self.progress
        return (c.steps is not None and p.step >= c.steps) or (c.minutes is not None and p.seconds >= 60 * c.minutes)

    def run(self) -> int:
        """Train until finished or told to stop; returns 0, or the number of the signal that stopped it.

        Raises:
            TrainingError: something was not a number, or the disk is full; what was saved is whole.
        """
        with self._own_random_state(), StopRequest().listening() as request:
            log = None
            if self.processes.is_first and self.folder is not None:
                log = MetricsLog(self.folder / "metrics.jsonl", self.progress.step, self.log_mark, self.watcher.say)
            feed = Feed(self.source, self.seed, self.config.batch_size, self.places, self.flip, self.workers)
            pipeline = Pipeline(feed, self.task, self.hardware)
            self.task.network = self.network if self.sharding is not None else self.processes.wrap(self.network)
            self.task.train()
            self.gradients = Gradients(self.task, self.weights, self.config, self.seed, self.hardware, self.processes,
                                       self.places, self.sharding)  # fmt: skip
            try:
                with pipeline.from_step(self.progress.step + 1) as steps:
                    while not self.is_finished():
                        stop, enough = self._one_step(steps, log, request)
                        at = self.progress.step
                        last = bool(stop) or enough or self.is_finished()
                        if enough and self.validation is not None:
                            self._validate()
                        if last or at % self.config.checkpoint_every == 0:
                            self._save(log, last)
                        if stop or enough:
                            return stop
                        if self.config.sample_every and at % self.config.sample_every == 0:
                            self._look(at)
            except TrainingError:
                if self.saving is not None:
                    with suppress(OSError, RuntimeError):  # what is being written is whole or absent
                        self.saving.finish()
                raise
            except OSError as error:
                if self.saving is None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
                    raise
                folder = self.saving.checkpoints.folder.parent
                raise suitable.no_room(error, self.weights, folder, self.saving.written) from None
            finally:
                self.task.network = self.network
                if log is not None:
                    log.close()
        return 0

    def _one_step(self, steps: Iterator[Ready], log: MetricsLog | None, request: StopRequest) -> tuple[int, bool]:
        """The number of a signal that asked to stop, and whether a watcher did."""
        started = time.perf_counter()
        c, p, step = self.config, self.progress, self.progress.step + 1
        self.processes.step_began(self.longest, self.plain)
        ready = next(steps)
        waited = time.perf_counter() - started
        values = self.gradients.accumulate(ready, step)
        numbers = read([self.gradients.size(), self.ema.largest, *values.values()], self.task.seen())
        # The clock is shared too, or processes would stop at different steps.
        asked, took = request.number + _ENOUGH * self.enough, self.late + time.perf_counter() - started
        means, flag, seconds, own = self.processes.agree(numbers, asked, took, waited + self.gradients.seconds)
        self.processes.step_began(None)  # what comes until the next one may take any time
        stop, enough = flag % _ENOUGH, flag >= _ENOUGH
        shared = time.perf_counter()
        figures = gathered(values, means[2:])
        self.ema.settle(means[1])
        mean, lr = figures["loss"], self.lr(step)
        size = self.gradients.clip(means[0])
        if math.isfinite(mean) and math.isfinite(size):
            self.optimizer.step(lr)
            self.ema.update(step)
            self.progress.follow(mean)
        else:
            self._refuse(step, mean)
        for weight in self.weights.values():
            weight.grad = None
        self.late = time.perf_counter() - shared
        p.step, p.images, p.seconds = step, p.images + c.batch_size, p.seconds + seconds
        line = {"step": step, "images": p.images, "loss": mean, "grad_norm": size, "lr": lr * self.optimizer.scale,
                "images_per_second": c.batch_size / max(seconds, 1e-9), "seconds": p.seconds, **figures,
                **(self.stragglers.line(own) if self.stragglers else {})}  # fmt: skip
        self.longest, self.plain = max(self.longest, seconds), True
        if self.validation is not None and self._checkpoint_is_due(stop):
            line["validation_loss"] = self._validate()
        if log is not None:
            log.write(line)
        if self.processes.is_first:
            answers = [callback(line) for callback in self.callbacks]
            self.enough = any(a is True for a in answers)  # others hear of it with the next step's numbers
        return stop, enough or (self.enough and self.processes.world == 1)

    def lr(self, step: int) -> float:
        """The learning rate of a step, from 1: a linear warm-up times the schedule."""
        c = self.config
        warm = min(1.0, step / c.warmup) if c.warmup else 1.0
        return c.lr * warm * self.lr_schedule.factor(step, c.steps, c.warmup)

    def _validate(self) -> float:
        """The loss of the averaged weights on held-out examples, of which each process looks at its share."""
        if self.validation is not None:
            self._settle()
            with self._averaged():
                loss = held_out_loss(self.task, self.validation, self.hardware, self.config.batch_size, self.processes)
            self.progress.validation, self.plain = loss, False
        return self.progress.validation or 0.0

    def _checkpoint_is_due(self, stop: int) -> bool:
        return bool(stop) or self.is_finished() or self.progress.step % self.config.checkpoint_every == 0

    def _refuse(self, step: int, loss: float) -> None:
        """The weights stay as they are; the run goes on only where that was asked for."""
        if self.progress.skipped < self.config.skip_nonfinite:
            self.progress.skipped += 1
            return
        raise suitable.not_finite(step, loss, self.weights)

    def _save(self, log: MetricsLog | None, last: bool) -> None:
        if self.saving is not None:
            self._settle()
            self.saving.save(self.progress, {} if log is None else log.mark(), last)
            self.processes.wait()  # or the others' next step would count what the first one writes
            self.plain = False

    def _settle(self) -> None:
        """Before several processes look at the average: what is not finite in one stops all, in the same place."""
        if self.processes.world > 1:
            self.ema.settle(self.processes.sum(self.ema.largest.double().reshape(1)).item())

    def _look(self, at: int) -> None:
        """The picture in passing: the first process draws it, or all together where weights are sharded."""
        self._settle()
        if self.processes.is_first or self.sharding is not None:
            with self._averaged():
                self.watcher.sample(at)
        self.processes.wait()
        self.plain = False

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights, by the network itself: one process alone looks, and DDP's wrapper would wait."""
        wrapped, self.task.network = self.task.network, self.network
        try:
            with self.ema.applied(), self.hardware.autocast():
                yield
        finally:
            self.task.network = wrapped
            self.task.train()

    def leave_averaged(self) -> None:
        """The model holds its averaged weights from now on, in evaluation mode; sharded ones whole, on the CPU, if the
        watcher wants them. All processes take part."""
        self._settle()
        self.ema.apply()
        if self.sharding is not None and self.watcher.wants_model:
            self.task.network = self.sharding.gathered(self.network.state_dict())
        self.task.model.eval()

    @contextmanager
    def _own_random_state(self) -> Iterator[None]:
        """The seeds of dropout are this run's own; what the caller draws afterwards is as if it had not been."""
        device = self.hardware.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
