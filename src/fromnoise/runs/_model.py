"""A trained model and how to sample it: the recipe's word, and what a person asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fromnoise import guidance, io, registry, samplers
from fromnoise.data._images import to_uint8
from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError, nearest
from fromnoise.hardware import Precision
from fromnoise.progress import say
from fromnoise.recipes._recipe import Recipe, SampleConfig
from fromnoise.runs._config import read_config


@dataclass(frozen=True)
class Model:
    """A denoiser and where it is from.

    Attributes:
        denoiser: the weights that were asked for.
        path: of the run, the checkpoint or the saved model.
        folder: that holds the tensors.
        config: of the run; None for a model that was saved without one.
        ema: whether these are the averaged weights.
        precision: "fp32" or "bf16", in which the network computes.
    """

    denoiser: Denoiser
    path: Path
    folder: Path
    config: Recipe | None
    ema: bool
    precision: str

    @property
    def sampling(self) -> SampleConfig:
        """How it is best sampled, as its recipe says; in no more steps than its chain has."""
        usual = self.config.sample if self.config else SampleConfig()
        return usual.model_copy(update={"steps": min(usual.steps, self.denoiser.schedule.chain.steps)})


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
        name: str | None = None,
        options: dict[str, Any] | None = None,
        steps: int | None = None,
        spacing: str | None = None,
        clip: bool | None = None,
        scale: float | None = None,
        label: str | None = None,
    ) -> "Choice":
        sampler = samplers.build(({"name": name} if name else usual.sampler) | (options or {}))
        clip = usual.clip if clip is None else clip
        scale = usual.guidance if scale is None else scale
        steps = usual.steps if steps is None else steps
        spacing = spacing or (None if name else usual.spacing) or sampler.usual_spacing
        return cls(sampler, steps, spacing, clip, scale, label)

    def steered(self, denoiser: Denoiser) -> Denoiser:
        """The denoiser with its guidance and clipping."""
        return guidance.steer(denoiser, self.guidance, self.clip)

    def calls(self, denoiser: Denoiser) -> int:
        """Steps of the sampler on this model's chain, which may have fewer distinct levels than were asked for."""
        return denoiser.schedule.steps(self.steps, self.spacing).steps

    def cond(self, denoiser: Denoiser, n: int) -> Cond | None:
        """The class that was asked for, n times; None leaves the choice to the sampler."""
        return None if self.label is None else {"label": torch.full((n,), class_number(denoiser, self.label))}

    def described(self) -> dict[str, Any]:
        """JSON values that say it all."""
        return {
            "sampler": registry.spec(self.sampler),
            "steps": self.steps,
            "spacing": self.spacing,
            "clip": self.clip,
            "guidance": self.guidance,
            "class": self.label,
        }


def open_model(path: Path, precision: Precision = "auto", ema: bool = True) -> Model:
    """From a run, one of its checkpoints or a saved model; a damaged checkpoint is a warning.

    Raises:
        FromNoiseError: there is no model, or none that is whole.
    """
    run = path.parent.parent if path.parent.name == "checkpoints" else path
    config = read_config(run) if (run / "config.yaml").exists() or not path.exists() else None
    folder = io.find(path, lambda text: say(f"fromnoise: warning: {text}"))
    averaged = ema and (folder / "ema.safetensors").exists()
    denoiser = io.load(folder, ema, precision)
    weight = next(denoiser.network.parameters())
    return Model(denoiser, path, folder, config, averaged, "bf16" if weight.dtype == torch.bfloat16 else "fp32")


def draw(
    model: Model,
    n: int,
    choice: Choice,
    seed: int,
    batch_size: int = 64,
    first: int = 0,
    callback: Callable[[samplers.Moment], None] | None = None,
) -> Tensor:
    """uint8 samples `first` to `first + n - 1` of the seed, [n, C, H, W], on the CPU.

    Raises:
        FromNoiseError: a choice that the model cannot serve, before any network call; or samples that are not finite.
    """
    denoiser = choice.steered(model.denoiser)
    drawn = samplers.sample(
        denoiser,
        n,
        choice.sampler,
        choice.steps,
        seed,
        choice.cond(denoiser, n),
        spacing=choice.spacing,
        batch_size=batch_size,
        first=first,
        callback=callback,
    )
    return to_uint8(drawn.cpu())


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
