"""`fromnoise train-classifier`."""

from dataclasses import dataclass

from fromnoise.app.cli._options import Run
from fromnoise.app.cli._training import Training
from fromnoise.app.cli.train import as_train


@dataclass(frozen=True, kw_only=True)
class TrainClassifier(Training):
    """Train a classifier of noisy images: `fromnoise train noisy-classifier --model RUN`.

    Half the model's U-Net, on its levels and data, half as long, into RUN/classifier, with a figure of its accuracy at
    every level. Then: fromnoise sample RUN --guidance 0 --classifier RUN/classifier --classifier-scale 2
    """

    run: Run
    """The run of the model that is to be steered."""

    def __call__(self) -> int:
        return as_train(self, "noisy-classifier", self.run)()
