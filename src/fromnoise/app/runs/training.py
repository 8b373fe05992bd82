"""A configuration becomes a run."""

import time
from pathlib import Path
from typing import Any

import yaml

from fromnoise import recipes, storage
from fromnoise.app.runs.jobs import JOBS, Job, Talk
from fromnoise.data.loading import load as load_images
from fromnoise.errors import FromNoiseError
from fromnoise.hardware import choose, compile_network, peak_memory
from fromnoise.progress import Bar, counter, say
from fromnoise.recipes.config import RunConfig
from fromnoise.recipes.diffusion import Recipe
from fromnoise.train.distributed import Processes
from fromnoise.train.trainer import Trainer, Watcher
from fromnoise.weights import native


def train(config: RunConfig, out: str | Path, autoencoder: str | Path | None = None) -> int:
    """Train into the folder `out`, or go on with what is there; `fromnoise train` in Python.

    A cascade is trained stage by stage, each into a folder of its own below `out`; a model of latents after its
    autoencoder, which is trained into `out`/autoencoder unless one is there.

    Args:
        config: from `recipes.load(name).with_changes({...})`.
        out: config.yaml, metrics.jsonl, samples/ and checkpoints/ come here.
        autoencoder: for a model of latents, the folder of one that is trained; the run gets a copy, and so stays whole
            wherever it is moved.

    Returns:
        0, or 128 plus the number of the signal that stopped it; a checkpoint is left in any case.

    Raises:
        FromNoiseError: the data, the network and the objective do not fit together; or what the trainer raises.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    processes = Processes()
    with processes.started(choose(config.precision).device):
        parts = _before(config, out, autoencoder is not None)
        if parts and processes.is_first:
            _write_config(config, out)  # before them, so that --resume knows what was begun
        for name, part in parts:
            if processes.is_first:
                say(f"{name}, into {out / name}")
            if status := train(part, out / name):
                return status
        if not (isinstance(config, Recipe) and config.stages):
            return _train_one(config, out, autoencoder, processes)
        if processes.is_first:
            say(f"next: fromnoise sample {out} --n 64 --out {out.name}.png")
        return 0


def _before(config: RunConfig, out: Path, given: bool = False) -> list[tuple[str, RunConfig]]:
    """What else is trained, and into which folder."""
    if not isinstance(config, Recipe):
        return []
    if config.stages:
        return [(name, config.stage(name)) for name in config.stages]
    if config.latent is None or given or (out / native.AUTOENCODER / f"{native.AUTOENCODER}.json").exists():
        return []
    data = {f"data.{key}": value for key, value in config.data.model_dump(mode="json").items()}
    part = recipes.load(config.latent.autoencoder).with_changes(data | {"seed": config.seed})
    return [(native.AUTOENCODER, part.with_changes({"precision": config.precision}))]


def _train_one(config: RunConfig, out: Path, autoencoder: str | Path | None, processes: Processes) -> int:
    hardware = choose(config.precision)
    talk = say if processes.is_first else _silent
    with processes.first_alone():
        if autoencoder is not None:
            _keep(autoencoder, out / native.AUTOENCODER)
        images = load_images(config.data, counter if processes.is_first else None)
        job = JOBS[type(config)](config, images, out, hardware, talk)
    for note in images.notes:
        talk(f"fromnoise: warning: {note}")
    watcher = _Watcher(job, out)
    trainer = Trainer(
        task=job.task,
        images=job.images,
        config=config.train,
        seed=config.seed,
        folder=out,
        hardware=hardware,
        processes=processes,
        about=job.about,
        watcher=Watcher(watcher.step, watcher.sample, lambda text: talk(f"fromnoise: warning: {text}")),
        flip=job.flip,
        workers=config.data.workers,
    )
    compile_network(trainer.network, config.compile, inference=False)
    resumed = trainer.resume()
    if resumed and trainer.is_finished():
        talk(f"{out} is finished: {trainer.progress.step} steps, loss {trainer.progress.loss:.4f}")
        talk(f"next: {job.next(out)}")
        return 0
    if processes.is_first:
        _write_config(job.config, out)
    count = sum(p.numel() for p in trainer.network.parameters())
    shape = "x".join(map(str, job.images.shape))
    what = f"{len(job.images):,} {job.noun} of {shape} from {images.name}"
    talk(f"{config.recipe}: {count:,} parameters, {what}, on {hardware.why}")
    if resumed:
        talk(f"going on after step {trainer.progress.step}")
    return _watched(trainer, watcher, talk)


def _keep(autoencoder: str | Path, place: Path) -> None:
    """A copy in the run, unless it is there.

    Raises:
        FromNoiseError: another one is.
    """
    given = native.load_autoencoder(autoencoder)
    if not place.exists():
        native.save_autoencoder(given, place)
    elif storage.fingerprint(native.load_autoencoder(place).state_dict()) != storage.fingerprint(given.state_dict()):
        raise FromNoiseError(f"{place} holds another autoencoder than {autoencoder}: name another folder for the run")


def _watched(trainer: Trainer, watcher: "_Watcher", talk: Talk) -> int:
    """Run the trainer, and say how it ended."""
    job, out = watcher.job, watcher.out
    watcher.start(trainer)
    try:
        stopped = trainer.run()
    finally:
        watcher.close()
    if stopped:
        talk(f"stopped after step {trainer.progress.step}, nothing is lost; go on with the same command and --resume")
        return 128 + stopped
    p = trainer.progress
    talk(f"trained {p.step} steps, {p.images:,} images in {p.seconds / 60:.1f} minutes "
         f"({p.images / max(p.seconds, 1e-9):.0f} images/s), loss {p.loss:.4f}"
         f"{peak_memory(trainer.hardware.device)}")  # fmt: skip
    talk(f"next: {job.next(out)}")
    return 0


def _write_config(config: RunConfig, out: Path) -> None:
    storage.write_text(out / "config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def _silent(text: str) -> None:
    """For processes that do not talk."""


class _Watcher:
    """The bar, and the pictures while training."""

    def __init__(self, job: Job, out: Path):
        self.job, self.out = job, out
        self.bar: Bar | None = None

    def start(self, trainer: Trainer) -> None:
        c, self.progress = self.job.config.train, trainer.progress
        by_steps = c.minutes is None
        self.bar = Bar("training", 60 * c.minutes if c.minutes else c.steps or 0, counts=by_steps)
        self.rate, self.shown = 0.0, 0.0
        self.bar.done = self.progress.step if by_steps else self.progress.seconds
        self.by_steps = by_steps

    def step(self, line: dict[str, Any]) -> None:
        assert self.bar is not None
        now = time.monotonic()
        self.rate = 0.9 * self.rate + 0.1 * line["images_per_second"] if self.rate else line["images_per_second"]
        if now - self.shown < 0.1 and not self._is_last(line):
            return
        self.shown = now
        done = line["step"] if self.by_steps else line["seconds"]
        note = f"step {line['step']}  loss {self.progress.loss:.4f}  {self.rate:.0f} images/s"
        self.bar.advance(done - self.bar.done, note)

    def _is_last(self, line: dict[str, Any]) -> bool:
        c = self.job.config.train
        return line["step"] == c.steps or (c.minutes is not None and line["seconds"] >= 60 * c.minutes)

    def sample(self, step: int) -> None:
        folder = self.out / "samples"
        folder.mkdir(exist_ok=True)
        self.job.picture(folder / f"step-{step:08d}.png")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
