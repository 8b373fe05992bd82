"""`fromnoise convert`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fromnoise.app.cli._options import Run, option
from fromnoise.progress import say


@dataclass(frozen=True)
class Convert:
    """Write a trained model as another library loads it: diffusers' DDPM pipeline, a folder with a model card.

    The averaged weights are written in float32. A model that diffusers cannot express is refused with the reason. To
    read one of its DDPM or DDIM folders, give the folder to sample, eval, nll, edit or train --init.
    """

    run: Run
    """A run's folder, one of its checkpoints, or a saved model."""
    out: Annotated[Path, tyro.conf.Positional, option("OUT")]
    """The folder to write."""
    to: Literal["diffusers"] = "diffusers"
    """Whose format."""
    ema: bool = True
    """The averaged weights."""

    def __call__(self) -> int:
        from fromnoise.app import runs
        from fromnoise.weights import pipeline_writing

        model = runs.open_model(self.run, "fp32", self.ema)
        config = model.config
        clip = model.choice().steering.clip
        about = "" if config is None else f"Recipe {config.recipe}, {model.step:,} steps, on {config.data.name}."
        pipeline_writing.write(model.denoiser.cpu(), self.out, clip, about)
        print(self.out)
        say(f'next, in Python: diffusers.DDPMPipeline.from_pretrained("{self.out}")().images')
        return 0
