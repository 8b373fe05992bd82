"""`fromnoise train-autoencoder`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from fromnoise.app.cli._options import option
from fromnoise.app.cli._training import Training
from fromnoise.app.cli.train import as_train


@dataclass(frozen=True, kw_only=True)
class TrainAutoencoder(Training):
    """Train an autoencoder for latent models.

    examples:
      fromnoise train-autoencoder digits-kl
          Train a KL autoencoder of digits in two minutes, into runs/digits-kl.
      fromnoise train-autoencoder digits-vq --minutes 5 --out runs/vq
          Train a VQ autoencoder for five minutes.
      fromnoise train digits-latent --autoencoder runs/digits-kl
          Then train a latent model on its latents.

    details:
      This is `fromnoise train` for the recipe of an autoencoder, and its folder
      is a run like any other. The images in samples/ show the data above their
      reconstructions.
    """

    recipe: Annotated[str, tyro.conf.Positional, option("RECIPE|FILE")]
    """Name of a recipe, such as digits-kl, digits-vq or kl-f8, or a .yaml or .py file."""

    def __call__(self) -> int:
        return as_train(self, self.recipe)()
