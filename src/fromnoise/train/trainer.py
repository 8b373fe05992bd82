"""Training, made to survive: the loop that every run goes through."""

import errno
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fromnoise import rng, storage
from fromnoise.data.feed import Feed
from fromnoise.data.images import Images
from fromnoise.errors import FromNoiseError, TrainingError
from fromnoise.hardware import Hardware
from fromnoise.nn.recompute import recompute_blocks
from fromnoise.train.checkpoint import Checkpoints
from fromnoise.train.config import TrainConfig
from fromnoise.train.distributed import Processes
from fromnoise.train.ema import EMA
from fromnoise.train.log import MetricsLog
from fromnoise.train.optimizer import optimizer
from fromnoise.train.signals import StopRequest
from fromnoise.train.task import Task


@dataclass
class Progress:
    """How far a run is: what a checkpoint holds beside tensors.

    Attributes:
        step: optimiser steps done.
        images: examples seen.
        seconds: of training, sampling and saving not counted.
        loss: moving average of the loss over some 100 steps.
        skipped: steps left out because something was not a number.
    """

    step: int = 0
    images: int = 0
    seconds: float = 0.0
    loss: float = math.inf
    skipped: int = 0

    def follow(self, loss: float) -> None:
        weight = max(0.01, 1 / (self.step + 1))
        self.loss = loss if math.isinf(self.loss) else self.loss + weight * (loss - self.loss)


@dataclass
class Watcher:
    """What the trainer tells the outside; every function may be replaced.

    Attributes:
        step: after every step, with the metrics line.
        sample: when a sample grid is due, with the step, the weights being the averaged ones.
        say: a line for the person watching.
    """

    step: Callable[[dict[str, Any]], None] = lambda line: None
    sample: Callable[[int], None] = lambda step: None
    say: Callable[[str], None] = lambda text: None


@dataclass
class Trainer:
    """Stochastic gradient descent on a task's loss, with clipping, EMA and checkpoints.

    What is drawn for an example is a function of (seed, step, its place in the global batch), so that
    `accumulate`, loader workers and the number of processes do not change it. Dropout is seeded for each
    step and part, so that a run that resumes repeats it.

    Args:
        task: what is trained, in float32, and its loss.
        images: the data.
        config: how.
        seed: of data order and dropout.
        folder: of the run.
        hardware: device and number format.
        processes: this process among others.
        about: JSON values saved with every checkpoint, enough to build the denoiser again.
        watcher: who is told.
        flip: mirror half of the examples.
        workers: loader processes, for images that are not in memory.
    """

    task: Task
    images: Images
    config: TrainConfig
    seed: int
    folder: Path
    hardware: Hardware
    processes: Processes = field(default_factory=Processes)
    about: dict[str, Any] = field(default_factory=dict)
    watcher: Watcher = field(default_factory=Watcher)
    flip: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        c, world = self.config, self.processes.world
        if c.batch_size % (world * c.accumulate):
            raise FromNoiseError(f"train.batch_size {c.batch_size} does not divide into {world} processes "
                                 f"times train.accumulate {c.accumulate}")  # fmt: skip
        self.late = 0.0  # of the last step, what came after its clock was shared
        self.progress = Progress()
        self.network = self.task.network  # raw; the task calls it through DDP where there are many
        self.hardware.prepare(self.network, inference=False)
        if c.gradient_checkpointing:
            recompute_blocks(self.network)
        self.checkpoints = Checkpoints(self.folder / "checkpoints", c.keep)
        self.weights = self.task.weights()
        self.ema = EMA(self.weights, c.ema)
        self.optimizer = optimizer(self.weights, c)
        share = c.batch_size // world
        self.places = range(self.processes.rank * share, (self.processes.rank + 1) * share)

    def resume(self) -> bool:
        """Continue from the newest whole checkpoint; whether there was one.

        Raises:
            FromNoiseError: there are checkpoints and all are damaged.
        """
        if self.processes.is_first:
            storage.clean_up(self.checkpoints.folder)
        found = self.checkpoints.newest_whole(self.watcher.say)
        if found is None:
            if self.checkpoints.steps():
                raise FromNoiseError(f"{self.folder}: every checkpoint is damaged; train again into another folder")
            return False
        self.progress = Progress(**storage.read_text(found, "state"))
        try:
            self.task.load({stem: storage.read_tensors(found, stem) for stem in self.task.tensors()})
        except RuntimeError as error:
            if "state_dict" not in str(error):
                raise
            raise FromNoiseError(f"{found} is of another network than this run's: name another folder") from None
        self.ema.load(storage.read_tensors(found, "ema"))
        self.optimizer.load(storage.read_tensors(found, "optimizer"))
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
        log = MetricsLog(self.folder / "metrics.jsonl", self.progress.step) if self.processes.is_first else None
        feed = Feed(self.images, self.seed, self.config.batch_size, self.places, self.flip, self.workers)
        batches = feed.from_step(self.progress.step + 1)
        self.task.network = self.processes.wrap(self.network)
        self.task.train()
        saved = self.progress.step
        with StopRequest().listening() as request:
            try:
                while not self.is_finished():
                    stop = self._one_step(next(batches), log, request)
                    at = self.progress.step
                    if stop or self.is_finished() or at % self.config.checkpoint_every == 0:
                        self._save(log)
                        saved = at
                    if stop:
                        return stop
                    if self.config.sample_every and at % self.config.sample_every == 0 and self.processes.is_first:
                        self._sample()
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
                    raise
                need = sum(t.numel() * 4 for t in self.weights.values()) * 4
                raise TrainingError(f"{error.strerror or error}: a checkpoint needs {need:,} bytes in {self.folder}; "
                                    f"the one of step {saved} is whole: free room, and resume") from None  # fmt: skip
            finally:
                self.task.network = self.network
                if log is not None:
                    log.close()
        return 0

    def _one_step(self, batch: tuple[Tensor, Tensor], log: MetricsLog | None, request: StopRequest) -> int:
        started = time.perf_counter()
        c, p, step = self.config, self.progress, self.progress.step + 1
        loss = self._gradients(*batch, step)
        norm = torch.nn.utils.get_total_norm([w.grad for w in self.weights.values() if w.grad is not None])
        # The clock is shared too, or processes would stop at different steps.
        mean, stop, seconds = self.processes.agree(loss, request.number, self.late + time.perf_counter() - started)
        shared = time.perf_counter()
        size = norm.item()
        lr = c.lr * min(1.0, step / c.warmup) if c.warmup else c.lr
        if math.isfinite(mean) and math.isfinite(size):
            if size > c.clip:
                torch.nn.utils.clip_grads_with_norm_(self.weights.values(), c.clip, norm)
            self.optimizer.step(lr)
            self.ema.update(step)
            self.progress.follow(mean)
        else:
            self._refuse(step, mean)
        for weight in self.weights.values():
            weight.grad = None
        self.late = time.perf_counter() - shared
        p.step, p.images, p.seconds = step, p.images + c.batch_size, p.seconds + seconds
        line = {"step": step, "images": p.images, "loss": mean, "grad_norm": size, "lr": lr,
                "images_per_second": c.batch_size / max(seconds, 1e-9), "seconds": p.seconds}  # fmt: skip
        line |= self.task.figures()
        if log is not None:
            log.write(line)
            self.watcher.step(line)
        return stop

    def _gradients(self, x0: Tensor, labels: Tensor, step: int) -> Tensor:
        """Accumulate the gradient of the mean loss of this process' share; returns that mean."""
        drawn = self.task.draw(x0, labels, self.places, step, self.config.batch_size)
        parts = self.config.accumulate
        size = len(x0) // parts
        total = torch.zeros((), device=self.hardware.device)
        for i in range(parts):
            own = slice(i * size, (i + 1) * size)
            place = self.processes.rank * parts + i
            torch.manual_seed(rng.integer(self.seed, place, step, rng.Stream.DROPOUT))
            last = i + 1 == parts
            with nullcontext() if last else self.processes.local_gradients(self.task.network):
                with self.hardware.autocast():
                    losses = self.task.losses(x0[own], {k: v[own] for k, v in drawn.items()}, self.hardware)
                part = losses.mean() / parts
                part.backward()
            total += part.detach()
        self.processes.average_gradients(self.task.extra_parameters())
        self.task.finish(step, self.places, self.config.batch_size, self.processes)
        return total

    def _refuse(self, step: int, loss: float) -> None:
        """The weights stay as they are; the run goes on only where that was asked for."""
        if self.progress.skipped < self.config.skip_nonfinite:
            self.progress.skipped += 1
            return
        bad = (n for n, p in self.weights.items() if p.grad is not None and not p.grad.isfinite().all())
        raise TrainingError(
            f"step {step}: the loss is {loss:.4g} and the gradient of {next(bad, 'no tensor')} is not finite; "
            "the weights are as before it; lower train.lr, try precision fp32, or allow it with train.skip_nonfinite"
        )

    def _save(self, log: MetricsLog | None) -> None:
        if not self.processes.is_first or log is None:
            return
        log.sync()
        tensors = self.task.tensors() | {"ema": self.ema.state(), "optimizer": self.optimizer.state()}
        self.checkpoints.save(self.progress.step, tensors, {**self.about, "state": vars(self.progress)})

    def _sample(self) -> None:
        """By the network itself: one process alone samples, and the wrapper hides what it knows of labels."""
        wrapped, self.task.network = self.task.network, self.network
        with self.ema.applied(), self.hardware.autocast():
            self.watcher.sample(self.progress.step)
        self.task.network = wrapped
        self.task.train()
