"""The configuration of a student, made from its teacher's."""

from pathlib import Path
from typing import Any

from fromnoise import distill
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.recipes.diffusion import Recipe
from fromnoise.recipes.sections import SampleConfig
from fromnoise.students.base import Student
from fromnoise.weights import describing


def for_teacher(recipe: Recipe, teacher: Denoiser, own: Recipe | None, where: Path) -> Recipe:
    """A recipe of a distillation with the network, levels, data and classes of a teacher.

    Args:
        recipe: with `distill`.
        teacher: the denoiser.
        own: its run's configuration; None for a model that was saved, whose data must then be named.
        where: it is from.

    Raises:
        FromNoiseError: a class of the teacher's is yours, and no file can name it.
    """
    assert recipe.distill is not None
    about = describing.describe(teacher)
    for part in ("network", "schedule", "parameterization"):
        if isinstance(about[part], dict) and "name" not in about[part]:
            raise FromNoiseError(f"{where}: its {part} is of a class of yours, which no recipe can name: distil it in "
                                 "Python, by fn.fit")  # fmt: skip
    way = distill.get(recipe.distill.way["name"])
    network = dict(about["network"])
    network |= way.options(network, teacher.schedule)
    values: dict[str, Any] = {key: about[key] for key in ("schedule", "parameterization", "variance")}
    values["network"] = network
    if own is not None:
        shared = own.model_dump(mode="json")
        values |= {key: shared[key] for key in ("data", "low", "latent", "evaluate")}
        values["data"] = {**shared["data"], "augment": 0.0}
    elif len(teacher.shape or ()) == 3:
        channels, *size = teacher.shape or ()
        values["data"] = {**recipe.data.model_dump(mode="json"), "name": "images", "channels": channels, "size": size}
    return recipe.checked(recipe.model_dump(mode="json") | values)


def sampling(student: Student, usual: SampleConfig) -> SampleConfig:
    """How a student is sampled: by its own sampler, as often as it was made for, its guidance being its teacher's."""
    if student.is_denoiser and student.sampler == usual.sampler["name"]:
        return usual
    own = {"sampler": {"name": student.sampler}, "steps": student.calls, "spacing": None}
    return usual.model_copy(update=own if student.is_denoiser else own | {"guidance": 1.0})
