"""The training loop of every run."""

import errno
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fromnoise.data.examples import Batches, Examples
from fromnoise.data.feed import Feed
from fromnoise.errors import FromNoiseError, TrainingError
from fromnoise.system import rng
from fromnoise.system.hardware import Hardware
from fromnoise.train import lr_schedules, suitable
from fromnoise.train.by_level import gathered, read
from fromnoise.train.config import TrainConfig
from fromnoise.train.distributed import Processes
from fromnoise.train.log import MetricsLog
from fromnoise.train.lr_schedules.base import LRSchedule
from fromnoise.train.pipeline import Pipeline, Ready
from fromnoise.train.progress import Progress, Watcher
from fromnoise.train.saving import Saving
from fromnoise.train.signals import StopRequest
from fromnoise.train.stragglers import Stragglers
from fromnoise.train.task import Task
from fromnoise.train.trained import Trained
from fromnoise.train.validation import held_out_loss
from fromnoise.weights.checkpoint import Checkpoints

_ENOUGH = 256  # larger than any signal's number


@dataclass
class Trainer:
    """Stochastic gradient descent on a task's loss, with clipping, EMA and checkpoints.

    The random numbers of an example are a function of (seed, step, position in the global batch), so that they do not
    depend on `accumulate`, on loader processes or on the number of processes. Dropout is seeded for each step and part,
    so that a resumed run repeats it. The caller's random state is restored afterwards.

    Args:
        task: the network to train, in float32, and its loss.
        source: the examples.
        config: the `train` configuration.
        seed: seed of data order and dropout.
        folder: folder of the run; None writes nothing.
        hardware: device and number format.
        processes: the processes of the run.
        watcher: hooks for an application.
        flip: whether to mirror half of the examples.
        workers: loader processes, for examples that are not in memory.
        validation: held-out examples, on which the loss of the averaged weights is measured at every checkpoint.
        own_optimizer, own_lr_schedule: objects that override the names in the configuration.
        notes: JSON values to store in every checkpoint, each as NAME.json.
        callbacks: functions called after every step with the line of the log; if one returns True, training ends.

    Attributes:
        trained: the network and its weights, with their optimiser and average.
        progress: steps, examples, seconds and losses.
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
            self.task.describe()  # raises now, not at a checkpoint, if the model cannot be saved
        self.trained = Trained(self.task, c, self.hardware, self.processes, self.own_optimizer)
        if isinstance(self.source, Examples):
            suitable.check_batch(c.batch_size, self.source.shape, self.processes.on_node / world)
        self.progress = Progress()
        self.saving: Saving | None = None
        self.log_mark: dict[str, Any] | None = None
        if self.folder is not None:
            checkpoints = Checkpoints(self.folder / "checkpoints", c.keep)
            self.saving = Saving(checkpoints, self.task, self.trained, self.notes, self.processes, self.watcher.say)
        pulse = self.processes.pulse if self.processes.is_first else None
        self.stragglers = Stragglers(pulse.host, self.watcher.say) if pulse is not None else None
        self.enough = False  # whether a watcher asked to end
        self.late = 0.0  # seconds of the last step after its time was shared
        self.longest, self.plain = 0.0, False  # longest step, in seconds; whether only steps have run since
        self.places = range(*(rank * c.batch_size // world for rank in (self.processes.rank, self.processes.rank + 1)))

    def resume(self) -> bool:
        """Continue from the newest intact checkpoint; returns whether there is one.

        Raises:
            FromNoiseError: all checkpoints are damaged, or they belong to another model or other data.
        """
        found = self.saving.resume(self.folder) if self.saving is not None else None
        if found is None:
            return False
        self.progress, self.log_mark = found
        return True

    def is_finished(self) -> bool:
        """Whether the configured steps or minutes are done."""
        c, p = self.config, self.progress
        return (c.steps is not None and p.step >= c.steps) or (c.minutes is not None and p.seconds >= 60 * c.minutes)

    def run(self) -> int:
        """Train until finished or stopped; returns 0, or the number of the signal that stopped training.

        Raises:
            TrainingError: a loss or gradient was not finite, or the disk is full; checkpoints stay intact.
        """
        with self._own_random_state(), StopRequest().listening() as request:
            log = None
            if self.processes.is_first and self.folder is not None:
                log = MetricsLog(self.folder / "metrics.jsonl", self.progress.step, self.log_mark, self.watcher.say)
            feed = Feed(self.source, self.seed, self.config.batch_size, self.places, self.flip, self.workers)
            pipeline = Pipeline(feed, self.task, self.hardware)
            if self.trained.sharding is None:
                self.task.network = self.processes.wrap(self.task.network)
            self.task.train()
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
                    with suppress(OSError, RuntimeError):  # a checkpoint in writing becomes complete or absent
                        self.saving.finish()
                raise
            except OSError as error:
                if self.saving is None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
                    raise
                folder = self.saving.checkpoints.folder.parent
                raise suitable.no_room(error, self.trained.weights, folder, self.saving.written) from None
            finally:
                self.task.network = self.trained.network
                if log is not None:
                    log.close()
        return 0

    def _one_step(self, steps: Iterator[Ready], log: MetricsLog | None, request: StopRequest) -> tuple[int, bool]:
        """(the number of a signal that asked to stop, or 0; whether a callback asked to end)."""
        started = time.perf_counter()
        c, p, trained, step = self.config, self.progress, self.trained, self.progress.step + 1
        self.processes.step_began(self.longest, self.plain)
        ready = next(steps)
        waited = time.perf_counter() - started
        values, computed = self._gradient(ready, step)
        numbers = read([trained.size(), trained.ema.largest, *values.values()], self.task.seen())
        # The time is shared, too; otherwise processes would stop at different steps.
        asked, took = request.number + _ENOUGH * self.enough, self.late + time.perf_counter() - started
        means, flag, seconds, own = self.processes.agree(numbers, asked, took, waited + computed)
        self.processes.step_began(None)  # anything until the next step may take any time
        stop, enough = flag % _ENOUGH, flag >= _ENOUGH
        shared = time.perf_counter()
        figures = gathered(values, means[2:])
        trained.ema.settle(means[1])
        mean, lr = figures["loss"], self.lr(step)
        size = trained.clip(means[0])
        if math.isfinite(mean) and math.isfinite(size):
            trained.step(step, lr)
            p.follow(mean)
        else:
            self._refuse(step, mean)
        trained.forget_gradient()
        self.late = time.perf_counter() - shared
        p.step, p.images, p.seconds = step, p.images + c.batch_size, p.seconds + seconds
        line = {"step": step, "images": p.images, "loss": mean, "grad_norm": size, "lr": lr * trained.optimizer.scale,
                "images_per_second": c.batch_size / max(seconds, 1e-9), "seconds": p.seconds, **figures,
                **(self.stragglers.line(own) if self.stragglers else {})}  # fmt: skip
        self.longest, self.plain = max(self.longest, seconds), True
        if self.validation is not None and self._checkpoint_is_due(stop):
            line["validation_loss"] = self._validate()
        if log is not None:
            log.write(line)
        if self.processes.is_first:
            answers = [callback(line) for callback in self.callbacks]
            self.enough = any(a is True for a in answers)  # others learn it with the next step's numbers
        return stop, enough or (self.enough and self.processes.world == 1)

    def _gradient(self, ready: Ready, step: int) -> tuple[dict[str, Tensor], float]:
        """The gradient of the mean loss, over this process's examples in `accumulate` parts and over the processes.

        Returns:
            The mean of each value of the task; the seconds that this process computed before it waited for others.
        """
        x0, drawn, count = ready.states(), ready.drawn, self.config.accumulate
        size, seconds = len(x0) // count, 0.0
        totals: dict[str, Tensor] = {}
        for i in range(count):
            own = slice(i * size, (i + 1) * size)
            place = self.processes.rank * count + i
            torch.manual_seed(rng.integer(self.seed, place, step, rng.Stream.DROPOUT))
            last = i + 1 == count
            with nullcontext() if last else self.processes.local_gradients(self.task.network):
                started = time.perf_counter()
                with self.hardware.autocast():
                    values = self.task.losses(x0[own], {k: v[own] for k, v in drawn.items()})
                if self.trained.sharding is None:  # otherwise processes wait for each other while blocks are gathered
                    seconds += time.perf_counter() - started
                means = {name: value.mean() / count for name, value in values.items()}
                means["loss"].backward()
            for name, mean in means.items():
                totals[name] = totals[name] + mean.detach() if name in totals else mean.detach()
        self.processes.average_gradients(self.task.extra_parameters())
        self.task.finish(step, self.places, self.config.batch_size, self.processes)
        return totals, seconds

    def lr(self, step: int) -> float:
        """The learning rate of a step (from 1): linear warm-up times schedule."""
        c = self.config
        warm = min(1.0, step / c.warmup) if c.warmup else 1.0
        return c.lr * warm * self.lr_schedule.factor(step, c.steps, c.warmup)

    def _validate(self) -> float:
        """The loss of the averaged weights on held-out examples; each process evaluates its share."""
        if self.validation is not None:
            self.trained.settle()
            with self.trained.averaged():
                loss = held_out_loss(self.task, self.validation, self.hardware, self.config.batch_size, self.processes)
            self.progress.validation, self.plain = loss, False
        return self.progress.validation or 0.0

    def _checkpoint_is_due(self, stop: int) -> bool:
        return bool(stop) or self.is_finished() or self.progress.step % self.config.checkpoint_every == 0

    def _refuse(self, step: int, loss: float) -> None:
        """Skip a step that is not finite if the configuration allows it, or end the run; weights stay unchanged."""
        if self.progress.skipped < self.config.skip_nonfinite:
            self.progress.skipped += 1
            return
        raise suitable.not_finite(step, loss, self.trained.weights)

    def _save(self, log: MetricsLog | None, last: bool) -> None:
        if self.saving is not None:
            self.trained.settle()
            self.saving.save(self.progress, {} if log is None else log.mark(), last)
            self.processes.wait()  # otherwise the others' next step would include the time of writing
            self.plain = False

    def _look(self, at: int) -> None:
        """Draw a sample grid: in the first process, or in all of them if the weights are sharded."""
        self.trained.settle()
        if self.processes.is_first or self.trained.sharding is not None:
            with self.trained.averaged():
                self.watcher.sample(at)
        self.processes.wait()
        self.plain = False

    @contextmanager
    def _own_random_state(self) -> Iterator[None]:
        """Restore torch's random state after the block, since training seeds dropout."""
        device = self.hardware.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
