"""A configuration becomes a run."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from fromnoise import io, objectives, samplers, storage, times
from fromnoise.data._images import Images, to_uint8
from fromnoise.data._load import load as load_images
from fromnoise.denoise import Denoiser
from fromnoise.hardware import choose
from fromnoise.pictures import columns, grid
from fromnoise.progress import Bar, counter, say
from fromnoise.recipes._recipe import Recipe
from fromnoise.runs._choice import Choice
from fromnoise.train.diffusion import Diffusion
from fromnoise.train.distributed import Processes
from fromnoise.train.labels import Labels
from fromnoise.train.trainer import Trainer, Watcher

_GRID = 16


def train(config: Recipe, out: str | Path) -> int:
    """Train into the folder `out`, or go on with what is there; `fromnoise train` in Python.

    Args:
        config: from `recipes.load(name).with_changes({...})`.
        out: config.yaml, metrics.jsonl, samples/ and checkpoints/ come here.

    Returns:
        0, or 128 plus the number of the signal that stopped it; a checkpoint is left in any case.

    Raises:
        FromNoiseError: the data, the network and the objective do not fit together; or what the trainer raises.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    processes = Processes()
    hardware = choose(config.precision)
    with processes.started(hardware.device):
        talk = say if processes.is_first else (lambda text: None)
        with processes.first_alone():
            images = load_images(config.data, counter if processes.is_first else None)
        config = _with_classes(config, images, talk)
        denoiser = config.build(images.shape)
        denoiser.class_names = tuple(images.classes)
        Choice.of(config.sample)  # a wrong option is better known now than at the first grid
        for note in images.notes:
            talk(f"fromnoise: warning: {note}")
        watcher = _Watcher(config, denoiser, out)
        trainer = Trainer(
            task=Diffusion(
                denoiser,
                objectives.build(config.objective),
                Labels(denoiser, images, config.train.label_dropout, config.seed),
                config.seed,
                times.build(config.times),
            ),
            images=images,
            config=config.train,
            seed=config.seed,
            folder=out,
            hardware=hardware,
            processes=processes,
            about={io.ABOUT: io.describe(denoiser)},
            watcher=Watcher(watcher.step, watcher.sample, lambda text: talk(f"fromnoise: warning: {text}")),
            flip=config.data.flip,
            workers=config.data.workers,
        )
        resumed = trainer.resume()
        if resumed and trainer.is_finished():
            talk(f"{out} is finished: {trainer.progress.step} steps, loss {trainer.progress.loss:.4f}")
            _what_next(talk, out)
            return 0
        if processes.is_first:
            storage.write_text(out / "config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        count = sum(p.numel() for p in denoiser.network.parameters())
        shape = "x".join(map(str, images.shape))
        what = f"{len(images):,} images of {shape} from {images.name}"
        talk(f"{config.recipe}: {count:,} parameters, {what}, on {hardware.why}")
        if resumed:
            talk(f"going on after step {trainer.progress.step}")
        watcher.start(trainer)
        try:
            stopped = trainer.run()
        finally:
            watcher.close()
        if stopped:
            again = f"fromnoise train {config.recipe} --out {out} --resume"
            talk(f"stopped after step {trainer.progress.step}, nothing is lost; go on with: {again}")
            return 128 + stopped
        p = trainer.progress
        talk(f"trained {p.step} steps, {p.images:,} images in {p.seconds / 60:.1f} minutes "
             f"({p.images / max(p.seconds, 1e-9):.0f} images/s), loss {p.loss:.4f}")  # fmt: skip
        _what_next(talk, out)
        return 0


def _with_classes(config: Recipe, images: Images, talk: Callable[[str], None]) -> Recipe:
    """A recipe whose network knows classes, made for those of the images; without them the model is told none."""
    asked, there = config.network.get("classes"), len(images.classes)
    if not asked or asked == there:
        return config
    if there > 1:
        return config.with_changes({"network.classes": there})
    talk(f"{images.name} has no classes (a sub-folder is one): the model is trained without labels")
    return config.with_changes({"network.classes": None, "train.label_dropout": 0.0, "sample.guidance": 1.0})


def _what_next(talk: Any, out: Path) -> None:
    talk(f"next: fromnoise sample {out} --n 64 --out {out.name}.png    or: fromnoise show {out}")


class _Watcher:
    """The bar, and the sample grids while training."""

    def __init__(self, config: Recipe, denoiser: Denoiser, out: Path):
        self.config, self.denoiser, self.out = config, denoiser, out
        self.bar: Bar | None = None

    def start(self, trainer: Trainer) -> None:
        c, self.progress = self.config.train, trainer.progress
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
        c = self.config.train
        return line["step"] == c.steps or (c.minutes is not None and line["seconds"] >= 60 * c.minutes)

    def sample(self, step: int) -> None:
        choice = Choice.of(self.config.sample)
        denoiser = choice.steered(self.denoiser)
        steps = min(choice.steps, 50, denoiser.schedule.chain.steps)  # a look in passing, not the final picture
        drawn = samplers.sample(denoiser, _GRID, choice.sampler, steps, self.config.seed, spacing=choice.spacing)
        folder = self.out / "samples"
        folder.mkdir(exist_ok=True)
        grid(to_uint8(drawn.cpu()), columns(_GRID, denoiser.classes)).save(folder / f"step-{step:08d}.png")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
