"""`fit`, the function that trains any model."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fromnoise.couplings.base import Coupling
from fromnoise.data import remembered
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError, unknown
from fromnoise.objectives.base import Objective
from fromnoise.system import checks
from fromnoise.system.disk.holding import held
from fromnoise.system.hardware import Compile, Precision, choose, compile_network
from fromnoise.times.base import TimeSampling
from fromnoise.train.arguments import config_of, data_of, folder_of, insist_on_the_same_kind, task_of
from fromnoise.train.bar import watching
from fromnoise.train.distributed import Processes
from fromnoise.train.encoded import keep_autoencoder
from fromnoise.train.progress import Progress, Watcher
from fromnoise.train.task import Task
from fromnoise.train.trainer import Trainer

Callback = Callable[[dict[str, Any]], Any]
"""A function of the log's line, which returns True to end the training."""


@dataclass(frozen=True)
class Fitted:
    """The result of training.

    Attributes:
        model: the trained model with its averaged weights, in evaluation mode; on the CPU if it was sharded.
        progress: steps, examples, seconds and losses.
        out: the folder of the run, or None.
        stopped: the number of the signal that ended training early (2 for Ctrl-C), or 0.
    """

    model: nn.Module
    progress: Progress
    out: Path | None
    stopped: int = 0


def fit(
    model: Denoiser | Task,
    data: Any,
    *,
    objective: Objective | str = "simple",
    times: TimeSampling | str | None = None,
    coupling: Coupling | str | Mapping[str, Any] = "independent",
    steps: int | None = None,
    minutes: float | None = None,
    batch_size: int = 128,
    optimizer: Any = "adamw",
    lr: float | None = None,
    lr_schedule: Any = "constant",
    warmup: int = 0,
    ema: float = 0.9999,
    condition_dropout: float | Mapping[str, float] = 0.0,
    validation: Any = None,
    out: str | Path | None = None,
    resume: bool = False,
    callbacks: Callback | Sequence[Callback] = (),
    seed: int = 0,
    precision: Precision = "auto",
    compile: Compile = "off",
    flip: bool = False,
    augment: float = 0.0,
    workers: int = 0,
    progress: bool = True,
    watcher: Watcher | None = None,
    notes: Mapping[str, Any] | None = None,
    **options: Any,
) -> Fitted:
    """theta <- theta - lr grad E loss(theta), with t and noise drawn for every example: Sedykh Algorithm 1.

    Train a model in place; it holds its averaged weights afterwards. `fromnoise train` calls this function.

    Args:
        model: a Denoiser around any network, or another Task.
        data: a tensor or array x [N, ...]; a tuple of x and labels, or of x and {name: condition}; a map-style Dataset;
            a DataLoader or another iterable of batches, in its own order (no exact resume; a process takes its part of
            every batch); or the name of a data set or folder. An example is x, (x, label) or (x, {name: condition}); x
            is uint8 (0..255) or floating point (images in [-1, 1]); conditions reach the network as keyword arguments.
        objective: an object, or a registered name; `distill.Progressive(teacher)` and other distillations make `model`
            a student.
        times: the distribution of the times: an object, or a registered name; default: the distillation's own, or else
            uniform.
        coupling: how noise is assigned to examples: independent, optimal-transport or given, as a name, {"name": ...,
            option: value} or an object.
        steps, minutes: the length of training; at least one must be given, and the one reached first ends it.
        batch_size: examples per step, over all processes.
        optimizer: a registered name; or a torch optimizer, its class, or a function from the parameters to one.
        lr: learning rate after the warm-up; default: 2e-4, or a torch optimizer's own.
        lr_schedule: learning rate schedule after the warm-up: constant, cosine or inverse-sqrt, as a name, {"name":
            ..., option: value} or an object.
        warmup: steps over which the learning rate rises linearly.
        ema: decay of the averaged weights, which rises to this value at the beginning; 0 for no averaging.
        condition_dropout: share of examples whose label is dropped, for classifier-free guidance; or shares by
            condition name: {"label": 0.1, "text": 0.1}.
        validation: held-out data, in any form of `data` but an iterable; or the share of `data` to hold out, e.g. 0.1.
            Its loss with the averaged weights is logged at every checkpoint, and selects the best checkpoint.
        out: folder for metrics.jsonl and checkpoints/; None writes nothing.
        resume: continue exactly from the checkpoints in `out`; starts from scratch if there are none.
        callbacks: a function, or several, called after every step with {"step", "loss", "grad_norm", "lr", "images",
            "seconds", ...}; if one returns True, training ends.
        seed: seed of noise, times, order and dropout.
        precision: "auto" computes the network in bf16 if the hardware supports it natively.
        compile: "on" compiles the network with torch.compile; "auto" only if that pays off.
        flip: whether to mirror half of the examples along their last axis; samples will be mirrored as well.
        augment: probability of each augmentation (mirroring, scaling, turning, stretching, shifting; see
            `data.Augment`), 0 for none. The network is conditioned on them, augment= [B, 9], so that samples show none.
        workers: loader processes, for data that is not in memory.
        progress: whether to show a bar, in a terminal or a notebook.
        watcher: hooks for applications, for messages and sample grids during training.
        notes: further JSON values to store in every checkpoint, each as NAME.json; the name `examples` is reserved.
        options: other fields of `train.TrainConfig`: accumulate, shard, betas, weight_decay, clip, checkpoint_every,
            keep, ...

    Raises:
        FromNoiseError: the arguments do not fit together; the message says what to change.
        TrainingError: a loss or gradient was not finite, or the disk is full; checkpoints stay intact.
    """
    if compile not in ("auto", "on", "off"):
        raise unknown("compile", compile, ("auto", "on", "off"))
    checks.whole("seed", seed)
    checks.whole("workers", workers, 0)
    checks.objects(lr_schedule=lr_schedule)
    if resume and out is None:
        raise FromNoiseError("resume: continues a run in a folder; name the folder with out")
    if remembered.NOTE in (notes or {}):
        raise FromNoiseError(f"notes: the name {remembered.NOTE} is reserved; choose another")
    callbacks = [callbacks] if callable(callbacks) else callbacks
    hardware, processes = choose(precision), Processes()
    source, held_out = data_of(data, validation, model, seed)
    config = config_of(options, steps=steps, minutes=minutes, batch_size=batch_size, optimizer=optimizer, lr=lr,
                       lr_schedule=lr_schedule, warmup=warmup, ema=ema)  # fmt: skip
    task = task_of(model, source, objective, times, coupling, condition_dropout, seed, augment)
    if held_out is not None:
        insist_on_the_same_kind(task, source, held_out)
    folder = folder_of(out, resume)
    watcher = watcher or Watcher()
    own = held(folder, "trained") if folder is not None and processes.is_first else nullcontext()
    with own, processes.started(hardware.device):
        trainer = Trainer(
            task, source, config, seed, folder, hardware, processes, watcher, flip, workers, held_out,
            None if isinstance(optimizer, str) else optimizer,
            None if isinstance(lr_schedule, str | Mapping) else lr_schedule,
            {**(notes or {}), remembered.NOTE: remembered.about(source)} if folder else {},
        )  # fmt: skip
        compile_network(trainer.trained.network, compile, inference=False)
        keep_autoencoder(model, folder if processes.is_first else None)
        resumed = resume and trainer.resume()
        watcher.start(trainer, resumed)
        shown = watching(trainer, callbacks) if progress and processes.is_first else nullcontext(callbacks)
        with shown as every:
            trainer.callbacks = every
            stopped = 0 if trainer.is_finished() else trainer.run()
        trainer.trained.leave_averaged(gather=watcher.wants_model)
    return Fitted(task.model, trainer.progress, folder, stopped)
