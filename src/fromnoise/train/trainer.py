"""Algorithm 1, made to survive: the loop that every run goes through."""

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

from fromnoise import noise, storage, times
from fromnoise.data._feed import Feed
from fromnoise.data._images import Images
from fromnoise.denoise import Denoiser, load_state, state
from fromnoise.errors import FromNoiseError, TrainingError
from fromnoise.gaussian import like
from fromnoise.hardware import Hardware
from fromnoise.objectives._base import Objective
from fromnoise.times._base import TimeSampling
from fromnoise.train.checkpoint import Checkpoints
from fromnoise.train.config import TrainConfig
from fromnoise.train.distributed import Processes
from fromnoise.train.ema import EMA
from fromnoise.train.labels import Labels
from fromnoise.train.log import MetricsLog
from fromnoise.train.optimizer import optimizer
from fromnoise.train.signals import StopRequest


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
    """Sedykh Algorithm 1 (alpha_bar under the roots) with AdamW, clipping, EMA and checkpoints.

    t and eps of an example are functions of (seed, step, its place in the global batch), so that
    `accumulate`, loader workers and the number of processes do not change them. Dropout is seeded for each
    step and part, so that a run that resumes repeats it.

    Args:
        denoiser: what is trained, in float32.
        objective: what is minimised.
        images: the data.
        config: how.
        seed: of weights' noise, data order and dropout.
        folder: of the run.
        hardware: device and number format.
        processes: this process among others.
        about: JSON values saved with every checkpoint, enough to build the denoiser again.
        watcher: who is told.
        flip: mirror half of the examples.
        workers: loader processes, for images that are not in memory.
        times: which levels are looked at, and with what weight.
    """

    denoiser: Denoiser
    objective: Objective
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
    times: TimeSampling = field(default_factory=lambda: times.build("uniform"))

    def __post_init__(self) -> None:
        c, world = self.config, self.processes.world
        if c.batch_size % (world * c.accumulate):
            raise FromNoiseError(f"train.batch_size {c.batch_size} does not divide into {world} processes "
                                 f"times train.accumulate {c.accumulate}")  # fmt: skip
        self.objective.check(self.denoiser)
        if self.objective.needs_chain and not self.times.on_rows:
            raise FromNoiseError("this objective is a term of the bound and needs the rows of its chain: "
                                 "use times=uniform, stratified or importance")  # fmt: skip
        self.late = 0.0  # of the last step, what came after its clock was shared
        self.progress = Progress()
        self.network = self.denoiser.network  # raw; the denoiser calls it through DDP where there are many
        self.hardware.prepare(self.network, inference=False)
        self.checkpoints = Checkpoints(self.folder / "checkpoints", c.keep)
        self.weights = self.denoiser.weights()
        self.ema = EMA(self.weights, c.ema)
        self.optimizer = optimizer(self.weights, c)
        share = c.batch_size // world
        self.places = range(self.processes.rank * share, (self.processes.rank + 1) * share)
        self.labels = Labels(self.denoiser, self.images, c.label_dropout, self.seed)

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
        load_state(self.network, self.denoiser.schedule, storage.read_tensors(found, "model"))
        self.ema.load(storage.read_tensors(found, "ema"))
        self.optimizer.load(storage.read_tensors(found, "optimizer"))
        if self.times.state():
            self.times.load(storage.read_tensors(found, "times"))
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
        self.denoiser.network = self.processes.wrap(self.network)
        self.denoiser.train()
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
                                    f"the one of step {saved} is whole, free room and --resume") from None  # fmt: skip
            finally:
                self.denoiser.network = self.network
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
            self._descend(norm, lr, step)
            self.progress.follow(mean)
        else:
            self._refuse(step, mean)
        for weight in self.weights.values():
            weight.grad = None
        self.late = time.perf_counter() - shared
        p.step, p.images, p.seconds = step, p.images + c.batch_size, p.seconds + seconds
        line = {"step": step, "images": p.images, "loss": mean, "grad_norm": size, "lr": lr,
                "images_per_second": c.batch_size / max(seconds, 1e-9), "seconds": p.seconds}  # fmt: skip
        if log is not None:
            log.write(line)
            self.watcher.step(line)
        return stop

    def _gradients(self, x0: Tensor, labels: Tensor, step: int) -> Tensor:
        """Accumulate the gradient of the mean loss of this process' share; returns that mean."""
        u = self._uniform(self.places, step)
        draws = (self.objective.draws,) if self.objective.draws > 1 else ()
        eps = noise.normal(self.seed, self.places, step, (*draws, *x0.shape[1:]), noise.Stream.TRAIN_NOISE)
        cond = self.labels.cond(labels, self.places, step) or {}
        parts = self.config.accumulate
        size = len(x0) // parts
        total, losses = torch.zeros((), device=self.hardware.device), []
        for i in range(parts):
            own = slice(i * size, (i + 1) * size)
            place = self.processes.rank * parts + i
            torch.manual_seed(noise.integer(self.seed, place, step, noise.Stream.DROPOUT))
            last = i + 1 == parts
            with nullcontext() if last else self.processes.local_gradients(self.denoiser.network):
                t, weight = self.times.draw(u[own], self.denoiser.schedule)
                told = {k: self._put(v[own]) for k, v in cond.items()} or None
                with self.hardware.autocast():
                    terms = self.objective(self.denoiser, self._put(x0[own]), t, self._put(eps[own]), told)
                part = (terms["loss"] * like(weight, terms["loss"])).mean() / parts
                part.backward()
            total += part.detach()
            losses.append(terms["loss"].detach())
        self.processes.average_gradients([p for n, p in self.weights.items() if n.startswith("schedule.")])
        if self.times.watches:
            self._tell_times(torch.cat(losses), step)
        return total

    def _uniform(self, places: range, step: int) -> Tensor:
        u = noise.uniform(self.seed, places, step, noise.Stream.TRAIN_TIME)
        return self.times.arrange(u, places, self.config.batch_size)

    def _tell_times(self, losses: Tensor, step: int) -> None:
        """Every process sees the losses of the whole batch, so that all draw from the same distribution."""
        everyone = range(self.config.batch_size)
        u = self._uniform(everyone, step)
        whole = self.processes.whole(losses, self.places, len(everyone))
        if bool(whole.isfinite().all()):
            schedule = self.denoiser.schedule
            self.times.observe(self.times.draw(u, schedule)[0], whole, schedule)

    def _put(self, x: Tensor) -> Tensor:
        if self.hardware.device.type == "cuda":
            x = x.pin_memory()
        return x.to(self.hardware.device, non_blocking=True)

    def _descend(self, norm: Tensor, lr: float, step: int) -> None:
        torch.nn.utils.clip_grads_with_norm_(self.weights.values(), self.config.clip, norm)
        self.optimizer.step(lr)
        self.ema.update(step)

    def _refuse(self, step: int, loss: float) -> None:
        """The weights stay as they are; the run goes on only where that was asked for."""
        if self.progress.skipped < self.config.skip_nonfinite:
            self.progress.skipped += 1
            return
        bad = (n for n, p in self.weights.items() if p.grad is not None and not p.grad.isfinite().all())
        raise TrainingError(
            f"step {step}: the loss is {loss:.4g} and the gradient of {next(bad, 'no tensor')} is not finite; "
            "the weights are as before it; lower train.lr, try --precision fp32, or allow it with train.skip_nonfinite"
        )

    def _save(self, log: MetricsLog | None) -> None:
        if not self.processes.is_first or log is None:
            return
        log.sync()
        tensors = {"times": self.times.state()} if self.times.state() else {}
        tensors |= {
            "model": state(self.network, self.denoiser.schedule),
            "ema": self.ema.state(),
            "optimizer": self.optimizer.state(),
        }
        self.checkpoints.save(self.progress.step, tensors, {**self.about, "state": vars(self.progress)})

    def _sample(self) -> None:
        with self.ema.applied(), self.hardware.autocast():
            self.watcher.sample(self.progress.step)
        self.denoiser.train()
