"""`fromnoise train-classifier`."""

from dataclasses import dataclass

from fromnoise.app.cli._options import Run
from fromnoise.app.cli._training import Training
from fromnoise.app.cli.train import as_train


@dataclass(frozen=True, kw_only=True)
class TrainClassifier(Training):
    """Train a classifier of noisy images, for guidance.

    examples:
      fromnoise train-classifier runs/digits
          Train a classifier for this model, into runs/digits/classifier.
      fromnoise train-classifier runs/digits --minutes 10 --out runs/judge
          Train it for ten minutes, into another folder.
      fromnoise sample runs/digits --guidance 0 --classifier runs/digits/classifier
          Then draw digits with classifier guidance instead of classifier-free.

    details:
      This is `fromnoise train noisy-classifier --model RUN`. The classifier is
      half the U-Net of the model and takes over its levels and data; by default
      it trains for half as long. A figure in its folder shows the accuracy at
      every noise level.
    """

    run: Run
    """The run of the model to steer."""

    def __call__(self) -> int:
        return as_train(self, "noisy-classifier", self.run)()
