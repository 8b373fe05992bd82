"""Recipes that are made for a given model: its classifier, its control branch, its student."""

from pathlib import Path

from fromnoise.app.runs.config import read_config
from fromnoise.errors import FromNoiseError


def shows_embeddings(config) -> bool:  # noqa: ANN001  (a RunConfig, whose module needs pydantic)
    parts = [config.stage(name) for name in getattr(config, "stages", ())] or [config]
    return any(getattr(part, "unclip", None) is not None for part in parts)


def classifier_for(run: Path):  # noqa: ANN202  (a ClassifierConfig, whose module needs pydantic)
    """The recipe of a classifier for the model of a run.

    Raises FromNoiseError if there is no run, or if it is of a cascade or a latent model.
    """
    from fromnoise.recipes.classifier import for_model

    recipe = read_config(run)
    if recipe.stages or recipe.latent is not None:
        what = "a cascade: name one of its stages" if recipe.stages else "a latent model, which has no classifier yet"
        raise FromNoiseError(f"{run} is {what}")
    return for_model(recipe)


def branch_for(base, model: Path):  # noqa: ANN001, ANN202  (RunConfigs, whose module needs pydantic)
    """The recipe of a control branch for this model. Raises FromNoiseError if the model cannot have one."""
    from fromnoise.app.runs.model import open_model
    from fromnoise.recipes.controlled import for_controlled

    found = open_model(model, "fp32")
    if found.before is not None:
        raise FromNoiseError(f"--model: {model} is a cascade: name one of its stages")
    return for_controlled(base, found.denoiser, found.config, model)


def student_for(base, teacher: Path):  # noqa: ANN001, ANN202  (RunConfigs, whose module needs pydantic)
    """The recipe of a student of this teacher.

    Raises FromNoiseError if the recipe is no distillation, or the teacher cannot have a student.
    """
    if getattr(base, "distill", None) is None:
        from fromnoise import distill

        raise FromNoiseError(f"--teacher: recipe {base.recipe} is no distillation; use progressive or another recipe "
                             f"with one of `fromnoise list distillations`: {', '.join(distill.names())}")  # fmt: skip
    from fromnoise.app.runs.model import open_model
    from fromnoise.recipes.distillation import for_teacher

    found = open_model(teacher, "fp32")
    if found.before is not None:
        raise FromNoiseError(f"--teacher: {teacher} is a cascade: name one of its stages")
    return for_teacher(base, found.denoiser, found.config, teacher)
