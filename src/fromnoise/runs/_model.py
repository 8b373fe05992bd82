"""A trained model, opened and sampled."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fromnoise import io, samplers
from fromnoise.data._images import to_uint8
from fromnoise.denoise import Denoiser
from fromnoise.hardware import Precision
from fromnoise.progress import say
from fromnoise.recipes._recipe import Recipe, SampleConfig
from fromnoise.runs._choice import Choice
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
