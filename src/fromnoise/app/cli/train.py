"""`fromnoise train`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from fromnoise import recipes
from fromnoise.app.cli._options import Folder, option
from fromnoise.app.cli._training import Training
from fromnoise.app.runs.config import read_config
from fromnoise.errors import FromNoiseError


@dataclass(frozen=True, kw_only=True)
class Train(Training):
    """Train a model: a denoiser, an autoencoder or a classifier of noisy images.

      fromnoise train digits
      fromnoise train images --data ~/photos --minutes 60 --out runs/photos

    RECIPE is a recipe's name, a YAML file (a run's config.yaml, or one with `base: digits` and what differs), or a
    Python file that holds a `recipe`. The run's folder gets config.yaml, metrics.jsonl (a line a step), samples/ and
    checkpoints/. Ctrl-C and SIGTERM leave a checkpoint, and --resume goes on from it exactly. A cascade's stages are
    trained one after the other, each into a folder of its own; a latent model after its autoencoder. Many processes:
    torchrun --nproc-per-node 2 -m -- fromnoise train RECIPE ...
    """

    recipe: Annotated[str, tyro.conf.Positional, option("RECIPE|FILE")]
    """A recipe's name, or a .yaml or .py file."""
    autoencoder: Folder = None
    """Of a latent model: the run of its autoencoder, copied into this one; by default it is trained first."""
    image_text: Folder = None
    """Of unCLIP: the run of its image-text model, copied into this one; by default it is trained first."""
    model: Folder = None
    """Of a classifier: the run of the model that it shall steer, whose levels, data and half network it gets. Of a
    branch (recipe control): the run or saved model that it shall steer, whose network, levels and data it gets."""
    teacher: Folder = None
    """Of a student (recipes progressive, easy-consistency, mean-flow, ...): the run or saved model that it learns from,
    whose network, levels, data and classes it gets."""
    init: Folder = None
    """Fine-tuning: a run, saved model, diffusers folder or hf://owner/name to take the weights of, where they fit; the
    rest starts fresh and is named."""

    def __call__(self) -> int:
        base, out, init = recipes.load(self.recipe), self.out, self.init
        if self.model is not None and getattr(base, "is_branch", False):
            if init is not None:
                raise FromNoiseError("--init: a branch starts from the model that it steers: leave it out, or --model")
            base, init = _controlled(base, self.model), self.model
        elif self.model is not None:
            if base.kind != "classifier":
                raise FromNoiseError(f"--model is for the recipe noisy-classifier or control; {base.recipe} is "
                                     f"{base.what} of its own")  # fmt: skip
            base, out = _steering(self.model), out or self.model / "classifier"
        if out is None and (Path(base.recipe).name != base.recipe or base.recipe.startswith(".")):
            raise FromNoiseError(f"recipe {base.recipe!r} is no name for a folder: name one with --out")
        out = out or Path("runs", base.recipe)
        if self.teacher is not None:
            base = _taught(base, self.teacher)
        config = self.config(base, out)
        if self.autoencoder is not None and getattr(config, "latent", None) is None:
            raise FromNoiseError(f"--autoencoder: recipe {base.recipe} trains on images; it becomes a latent model by "
                                 "--set latent.autoencoder=digits-kl sample.clip=false")  # fmt: skip
        if init is not None and (base.kind != "diffusion" or getattr(config, "stages", None)):
            raise FromNoiseError("--init: only a run of one denoiser starts from another model; leave it out")
        if self.image_text is not None and not _shown_embeddings(config):
            raise FromNoiseError(f"--image-text: recipe {base.recipe} is shown no embeddings; emoji-unclip is")
        from fromnoise.app.runs import train

        return train(config, out, self.autoencoder, self.trackers(), init, self.teacher, self.image_text)


def _shown_embeddings(config) -> bool:  # noqa: ANN001  (a RunConfig, whose module needs pydantic)
    parts = [config.stage(name) for name in getattr(config, "stages", ())] or [config]
    return any(getattr(part, "unclip", None) is not None for part in parts)


def _steering(run: Path):  # noqa: ANN202  (a ClassifierConfig, whose module needs pydantic)
    """The classifier for the model of a run.

    Raises:
        FromNoiseError: no run, a cascade, or a latent model.
    """
    from fromnoise.recipes.classifier import for_model

    recipe = read_config(run)
    if recipe.stages or recipe.latent is not None:
        what = "a cascade; name one of its stages" if recipe.stages else "a latent model, which has no classifier yet"
        raise FromNoiseError(f"{run} is {what}")
    return for_model(recipe)


def _controlled(base, model: Path):  # noqa: ANN001, ANN202  (RunConfigs, whose module needs pydantic)
    """The recipe of a branch that steers this model.

    Raises:
        FromNoiseError: no branch can stand beside it.
    """
    from fromnoise.app.runs.model import open_model
    from fromnoise.recipes.controlled import for_controlled

    found = open_model(model, "fp32")
    if found.before is not None:
        raise FromNoiseError(f"--model: {model} is a cascade; name one of its stages")
    return for_controlled(base, found.denoiser, found.config, model)


def _taught(base, teacher: Path):  # noqa: ANN001, ANN202  (RunConfigs, whose module needs pydantic)
    """The recipe of a student of this teacher.

    Raises:
        FromNoiseError: it is no recipe of a distillation, or the teacher cannot have a student.
    """
    if getattr(base, "distill", None) is None:
        from fromnoise import distill

        raise FromNoiseError(f"--teacher: recipe {base.recipe} has no distillation; take progressive or another of "
                             f"`fromnoise list distillations`: {', '.join(distill.names())}")  # fmt: skip
    from fromnoise.app.runs.model import open_model
    from fromnoise.recipes.distillation import for_teacher

    found = open_model(teacher, "fp32")
    if found.before is not None:
        raise FromNoiseError(f"--teacher: {teacher} is a cascade; name one of its stages")
    return for_teacher(base, found.denoiser, found.config, teacher)


def as_train(command: Training, recipe: str, model: Path | None = None) -> Train:
    """The same words as `fromnoise train`."""
    shared = {name: getattr(command, name) for name in Training.__dataclass_fields__}
    return replace(Train(recipe=recipe, model=model), **shared)
