"""`fromnoise train-autoencoder`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from fromnoise.app.cli._options import option
from fromnoise.app.cli._training import Training
from fromnoise.app.cli.train import as_train


@dataclass(frozen=True, kw_only=True)
class TrainAutoencoder(Training):
    """Train an autoencoder: `fromnoise train` with a recipe such as digits-kl.

    Its folder is a run like any other; samples/ shows images above their reconstructions. Then:
    fromnoise train digits-latent --autoencoder FOLDER
    """

    recipe: Annotated[str, tyro.conf.Positional, option("RECIPE|FILE")]
    """A recipe's name, or a .yaml or .py file."""

    def __call__(self) -> int:
        return as_train(self, self.recipe)()
