"""Samples from a trained model into files: what `sample` and `show` share. Needs torch."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from fromnoise import guidance, io, pictures, samplers
from fromnoise.cli._runs import read_config
from fromnoise.data._images import to_uint8
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError, nearest
from fromnoise.progress import Bar, say
from fromnoise.recipes._recipe import SampleConfig


@dataclass
class Model:
    """A denoiser and how it is best sampled."""

    denoiser: Denoiser
    sampling: SampleConfig


@dataclass(frozen=True)
class Choice:
    """How to sample: what was asked for, and the recipe's word on the rest."""

    sampler: samplers.Sampler
    steps: int
    spacing: str
    clip: bool
    guidance: float
    label: str | None

    @classmethod
    def of(
        cls,
        usual: SampleConfig,
        sampler: samplers.Sampler | None = None,
        options: dict[str, Any] | None = None,
        steps: int | None = None,
        spacing: str | None = None,
        clip: bool | None = None,
        scale: float | None = None,
        label: str | None = None,
    ) -> "Choice":
        sampler = sampler or samplers.build(usual.sampler | (options or {}))
        clip = usual.clip if clip is None else clip
        scale = usual.guidance if scale is None else scale
        steps = usual.steps if steps is None else steps
        return cls(sampler, steps, spacing or usual.spacing, clip, scale, label)


def open_model(path: Path, precision: Any = "auto", ema: bool = True) -> Model:
    """From a run, one of its checkpoints or a saved model; a damaged checkpoint is a warning."""
    run = path.parent.parent if path.parent.name == "checkpoints" else path
    config = read_config(run) if (run / "config.yaml").exists() or not path.exists() else None
    denoiser = io.load(path, ema, precision, lambda text: say(f"fromnoise: warning: {text}"))
    return Model(denoiser, config.sample if config else SampleConfig())


def class_number(denoiser: Denoiser, text: str) -> int:
    """The class that a person named, or gave the number of.

    Raises:
        FromNoiseError: the model knows no classes, or none like that.
    """
    names = denoiser.class_names or tuple(map(str, range(denoiser.classes)))
    if not denoiser.classes:
        raise FromNoiseError(f"--class {text}: this model knows no classes")
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < denoiser.classes:
        return int(text)
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    raise FromNoiseError(f"--class {text}: no such class{nearest(text, names)}; there is {shown}, or a number from 0 "
                         f"to {denoiser.classes - 1}")  # fmt: skip


def as_grid(pixels: Tensor, model: Model, choice: Choice, side: int = 84) -> Image:
    """One picture; a column for each class, where they come in turn."""
    classes = model.denoiser.classes if choice.label is None else 0
    return pictures.grid(pixels, pictures.columns(len(pixels), classes), side=side)


def draw(
    model: Model,
    n: int,
    choice: Choice,
    seed: int,
    batch_size: int,
    callback: Callable[[samplers.Moment], None] | None = None,
) -> Tensor:
    """uint8 samples [n, C, H, W] on the CPU, with a bar; every choice is checked before the first network call."""
    denoiser = guidance.steer(model.denoiser, choice.guidance, choice.clip)
    if n < 1 or batch_size < 1:
        raise FromNoiseError(f"--n and --batch-size must be at least 1, got {n} and {batch_size}")
    cond = None if choice.label is None else {"label": torch.full((n,), class_number(denoiser, choice.label))}
    length = denoiser.schedule.steps(choice.steps, choice.spacing).steps
    with Bar("sampling", -(-n // batch_size) * length) as bar:

        def each(moment: samplers.Moment) -> None:
            bar.advance()
            if callback is not None:
                callback(moment)

        drawn = samplers.sample(
            denoiser,
            n,
            choice.sampler,
            choice.steps,
            seed,
            cond,
            spacing=choice.spacing,
            batch_size=batch_size,
            callback=each,
        )
    if not bool(torch.isfinite(drawn).all()):
        raise FromNoiseError("the samples are not finite; try --precision fp32, or an earlier checkpoint")
    return to_uint8(drawn.cpu())


def draw_to(out: Path, model: Model, n: int, choice: Choice, seed: int, batch_size: int) -> None:
    """Samples as a grid (.png), an array (.npz) or an animation of the denoising (.gif)."""
    kind = out.suffix.lower()
    if kind == ".gif":
        animation(out, model, n, choice, seed)
        return
    pixels = draw(model, n, choice, seed, batch_size)
    if kind == ".png":
        as_grid(pixels, model, choice).save(out)
    else:
        with out.open("wb") as file:
            np.savez(file, arr_0=pixels.permute(0, 2, 3, 1).numpy())


def animation(out: Path, model: Model, n: int, choice: Choice, seed: int) -> Tensor:
    """The denoising as a GIF; returns the final samples, uint8."""
    frames = []
    wanted: set[int] = set()

    def keep(moment: samplers.Moment) -> None:
        wanted.update(pictures.frame_steps(moment.total) if not wanted else ())
        if moment.index in wanted:
            frames.append(as_grid(to_uint8(moment.x.cpu()), model, choice, side=56))

    pixels = draw(model, n, choice, seed, batch_size=n, callback=keep)
    pictures.gif(frames, out)
    return pixels
