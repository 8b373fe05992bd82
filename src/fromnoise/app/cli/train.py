"""`fromnoise train`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fromnoise import recipes
from fromnoise.app.cli._options import Folder, option
from fromnoise.app.cli._training import Training
from fromnoise.errors import FromNoiseError


@dataclass(frozen=True, kw_only=True)
class Train(Training):
    """Train a model from a recipe.

    The run's folder gets config.yaml, metrics.jsonl (a line a step), samples/ and checkpoints/. Ctrl-C and
    SIGTERM leave a checkpoint, and --resume goes on from it exactly. A cascade's stages are trained one after the
    other, each into a folder of its own; a model of latents after its autoencoder. Many processes:
    torchrun --nproc-per-node 2 -m -- fromnoise train RECIPE ...
    """

    recipe: Annotated[str, tyro.conf.Positional, option("RECIPE")]
    """A recipe's name."""
    autoencoder: Folder = None
    """Of a model of latents: the folder of `fromnoise train-autoencoder`, copied into the run; trained unless given."""

    def __call__(self) -> int:
        out = self.out or Path("runs", self.recipe)
        config = self.config(recipes.load(self.recipe), out)
        if self.autoencoder is not None and config.latent is None:
            raise FromNoiseError(f"--autoencoder: recipe {self.recipe} is of images, not of latents; it becomes one by "
                                 "--set latent.autoencoder=digits-kl sample.clip=false")  # fmt: skip
        from fromnoise.app.runs import train

        return train(config, out, self.autoencoder)
