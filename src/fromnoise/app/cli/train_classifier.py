"""`fromnoise train-classifier`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fromnoise.app.cli._options import Run
from fromnoise.app.cli._training import Training
from fromnoise.app.cli._words import writable
from fromnoise.app.runs.config import read_config
from fromnoise.errors import FromNoiseError
from fromnoise.progress import say

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TrainClassifier(Training):
    """Train a classifier of noisy images, on the levels and data of a model, for classifier guidance.

    Half the model's U-Net, half as long, into RUN/classifier, with a figure of its accuracy at every level.

    Then: fromnoise sample RUN --guidance 0 --classifier RUN/classifier --classifier-scale 2
    """

    run: Run
    """The run of the model that is to be steered."""

    def __call__(self) -> int:
        from fromnoise.recipes.classifier import for_model

        recipe = read_config(self.run)
        if recipe.stages or recipe.latent is not None:
            what = "a cascade; name one of its stages" if recipe.stages else "of latents, which have no classifier yet"
            raise FromNoiseError(f"{self.run} is {what}")
        out = self.out or self.run / "classifier"
        config = self.config(for_model(recipe), out)
        from fromnoise.app.runs import train

        status = train(config, out)
        if status == 0:
            self._draw(out)
        return status

    def _draw(self, out: "Path") -> None:
        """Accuracy over the levels, on images that it was trained with."""
        from fromnoise.app import figures
        from fromnoise.app.evaluation import accuracy_over_levels
        from fromnoise.app.runs.config import read
        from fromnoise.data.loading import load
        from fromnoise.recipes.classifier import ClassifierConfig
        from fromnoise.train.distributed import Processes
        from fromnoise.weights import native

        if not Processes().is_first:
            return
        config = read(out, ClassifierConfig)
        classifier = native.load_classifier(out, config.precision)
        found = accuracy_over_levels(classifier, load(config.data))
        path, chance = writable(out / "accuracy.png"), 1 / len(classifier.class_names)
        figures.accuracy(found, chance, path)
        middle = found.shares[len(found.shares) // 2]
        say(f"accuracy {100 * found.shares[0]:.1f} % at the least noise, {100 * middle:.0f} % half way, chance "
            f"{100 * chance:.0f} % (images that it was trained with)")  # fmt: skip
        print(path)
