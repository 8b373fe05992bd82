"""`fromnoise train`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from fromnoise import recipes
from fromnoise.app.cli._options import Folder, option
from fromnoise.app.cli._trained_for import branch_for, classifier_for, shows_embeddings, student_for
from fromnoise.app.cli._training import Training
from fromnoise.errors import FromNoiseError


@dataclass(frozen=True, kw_only=True)
class Train(Training):
    """Train a model from a recipe.

    examples:
      fromnoise train digits
          Train on 5,000 handwritten digits for 4 minutes, into runs/digits.
      fromnoise train images --data ~/photos --minutes 60 --out runs/photos
          Train on a folder of images, at 32x32, for an hour.
      fromnoise train images --out runs/photos --resume --minutes 120
          Continue that run until it has been trained for two hours in all.

    details:
      RECIPE is the name of a recipe; a YAML file, which may be the config.yaml
      of a run, or `base: digits` and the keys that differ; or a Python file that
      defines `recipe`.
      The folder of the run gets config.yaml, metrics.jsonl (one line per step),
      samples/ and checkpoints/. Ctrl-C and SIGTERM leave a checkpoint, from
      which --resume continues exactly. The stages of a cascade are trained one
      after the other, each in a folder of its own; the autoencoder of a latent
      model is trained before the model.
      Several processes:
        torchrun --nproc-per-node 2 -m -- fromnoise train RECIPE ...
    """

    recipe: Annotated[str, tyro.conf.Positional, option("RECIPE|FILE")]
    """Name of a recipe, or a .yaml or .py file."""
    autoencoder: Annotated[Folder, option(default="trained first")] = None
    """For latent models: the run of an autoencoder, which is copied into this run."""
    image_text: Annotated[Folder, option(default="trained first")] = None
    """For unCLIP: the run of an image-text model, which is copied into this run."""
    model: Annotated[Folder, option(default="none")] = None
    """For recipes noisy-classifier and control: the run (for control, also a saved model) of the model to steer.
    A classifier takes its levels, its data and half its network; a control branch its network, levels and data."""
    teacher: Annotated[Folder, option(default="none")] = None
    """For students (recipes progressive, easy-consistency, mean-flow, ...): the run or saved model to learn from.
    The student takes its network, levels, data and classes."""
    init: Annotated[Folder, option(default="random weights")] = None
    """Fine-tuning: a run, saved model, diffusers folder or hf://owner/name to start from.
    Weights that do not fit start from random values and are listed."""

    def __call__(self) -> int:
        base, out, init = self._base()
        config = self.config(base, out)
        self._insist_on_a_use(config)
        from fromnoise.app.runs import train

        return train(config, out, self.autoencoder, self.trackers(), init, self.teacher, self.image_text)

    def _base(self):  # noqa: ANN202  (a RunConfig, whose module needs pydantic)
        """(the recipe, made for the given models if there are any; the run's folder; the model to start from)."""
        base, out, init = recipes.load(self.recipe), self.out, self.init
        if self.model is not None and getattr(base, "is_branch", False):
            if init is not None:
                raise FromNoiseError("--init: a control branch starts from its --model: leave --init out")
            base, init = branch_for(base, self.model), self.model
        elif self.model is not None:
            if base.kind != "classifier":
                raise FromNoiseError(f"--model is for the recipes noisy-classifier and control; recipe {base.recipe} "
                                     f"trains {base.what}")  # fmt: skip
            base, out = classifier_for(self.model), out or self.model / "classifier"
        if out is None and (Path(base.recipe).name != base.recipe or base.recipe.startswith(".")):
            raise FromNoiseError(f"recipe {base.recipe!r} cannot name the run's folder: choose one with --out")
        out = out or Path("runs", base.recipe)
        return base if self.teacher is None else student_for(base, self.teacher), out, init

    def _insist_on_a_use(self, config) -> None:  # noqa: ANN001  (a RunConfig, whose module needs pydantic)
        """Raise FromNoiseError if a given model has no use in this training."""
        if self.autoencoder is not None and getattr(config, "latent", None) is None:
            raise FromNoiseError(
                f"--autoencoder: recipe {config.recipe} trains on images, not on latents; to make it a latent model, "
                "add --set latent.autoencoder=digits-kl sample.clip=false"
            )
        if self.init is not None and (config.kind != "diffusion" or getattr(config, "stages", None)):
            raise FromNoiseError("--init works only for recipes of a single denoiser: leave it out")
        if self.image_text is not None and not shows_embeddings(config):
            raise FromNoiseError(f"--image-text: recipe {config.recipe} uses no image embeddings; emoji-unclip does")


def as_train(command: Training, recipe: str, model: Path | None = None) -> Train:
    """The same options for `fromnoise train`."""
    shared = {name: getattr(command, name) for name in Training.__dataclass_fields__}
    return replace(Train(recipe=recipe, model=model), **shared)
