"""`fromnoise train-autoencoder`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fromnoise import recipes
from fromnoise.app.cli._options import option
from fromnoise.app.cli._training import Training


@dataclass(frozen=True, kw_only=True)
class TrainAutoencoder(Training):
    """Train an autoencoder, whose latents a model can then be trained on.

    Its folder is a run like any other; samples/ shows images above their reconstructions. Then:
    fromnoise train digits-latent --autoencoder FOLDER
    """

    recipe: Annotated[str, tyro.conf.Positional, option("RECIPE")]
    """See `fromnoise list autoencoders`."""

    def __call__(self) -> int:
        out = self.out or Path("runs", self.recipe)
        config = self.config(recipes.load(self.recipe), out)
        from fromnoise.app.runs import train

        return train(config, out)
