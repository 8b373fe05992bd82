"""The configuration of a student, made from its teacher's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fromnoise import distill, schedules
from fromnoise.compose import unclip
from fromnoise.denoise import Denoiser
from fromnoise.distill.progressive import Progressive as Halving
from fromnoise.errors import FromNoiseError
from fromnoise.nn.control import Control
from fromnoise.parameterizations import students
from fromnoise.parameterizations.students.base import Student
from fromnoise.parameterizations.students.progressive import Progressive
from fromnoise.recipes.diffusion import Recipe
from fromnoise.recipes.sections import SampleConfig
from fromnoise.weights import describing


def for_teacher(recipe: Recipe, teacher: Denoiser, own: Recipe | None, where: Path) -> Recipe:
    """A recipe of a distillation with the network, levels, data and classes of a teacher.

    Args:
        recipe: with `distill`.
        teacher: the denoiser.
        own: its run's configuration; None for a model that was saved, whose data must then be named.
        where: it is from.

    Raises:
        FromNoiseError: a class of the teacher's is yours, and no file can name it; or a saved model does not say what
            its states are made of; or it has a branch.
    """
    assert recipe.distill is not None
    if isinstance(teacher.network, Control):
        raise FromNoiseError(f"{where}: has a branch beside a frozen network, and a student would learn by the branch "
                             "alone: distil it in Python, after requires_grad_() of the student")  # fmt: skip
    if unclip.embedding_size(teacher) is not None or (own is not None and own.unclip is not None):
        raise FromNoiseError(f"{where}: is a stage of unCLIP, and its student would be shown no embeddings: distil it "
                             "in Python, by fn.fit with data.Embedded or data.Embeddings")  # fmt: skip
    about = describing.describe(teacher)
    insist_on_names(about, where, "distil it in Python, by fn.fit")
    way = distill.get(recipe.distill.way["name"])
    network = dict(about["network"])
    network |= way.options(network, teacher.schedule)
    if way.draws_pairs and teacher.text is not None:
        raise FromNoiseError(f"{where}: reads words, and its pairs would be drawn without any: draw them in Python, by "
                             "data.reflow_pairs with cond={'text': ...}, and train by fn.fit")  # fmt: skip
    values: dict[str, Any] = {key: about[key] for key in ("schedule", "parameterization", "variance")}
    values["network"] = network
    changed: dict[str, Any] = {}
    if not teacher.null_cond:  # it cannot be guided, as the recipes would have it
        changed["guidance"] = 1.0
    if issubclass(way, Halving) and isinstance(teacher.student, Progressive):
        changed["way"] = recipe.distill.way | {"of": teacher.student.steps}  # a ladder goes on where it ended
    values["distill"] = recipe.distill.model_copy(update=changed).model_dump(mode="json")
    if own is None and (teacher.codec is not None or teacher.low is not None):
        what = "latents" if teacher.codec is not None else "a smaller image beside x"
        raise FromNoiseError(f"{where}: is a saved model of {what}, and only its run says how they are made: name the "
                             "run, or distil it in Python, by fn.fit")  # fmt: skip
    if own is not None:
        shared = own.model_dump(mode="json")
        values |= {key: shared[key] for key in ("data", "low", "latent", "evaluate")}
        values["data"] = {**shared["data"], "augment": 0.0}
        values["text"] = shared.get("text")
    else:
        values["data"] = unnamed_data(recipe, teacher)
    return recipe.checked(recipe.model_dump(mode="json") | values)


def insist_on_names(about: Mapping[str, Any], where: Path, otherwise: str) -> None:
    """That a recipe can name the parts of a model that is so described.

    Raises:
        FromNoiseError: a class is yours; `otherwise` is the way out.
    """
    for part in ("network", "schedule", "parameterization"):
        if isinstance(about[part], dict) and "name" not in about[part]:
            raise FromNoiseError(f"{where}: its {part} is of a class of yours, which no recipe can name: {otherwise}")


def unnamed_data(recipe: Recipe, model: Denoiser) -> dict[str, Any]:
    """Of a saved model, which does not say what it learned from: its size and channels, and a name that is none."""
    values = recipe.data.model_dump(mode="json")
    if len(model.shape or ()) == 3:
        channels, *size = model.shape or ()
        values |= {"name": "images", "channels": channels, "size": size}
    return values


def rungs(recipe: Recipe) -> dict[int, Recipe]:
    """Of a ladder of halvings, the configuration of each student before the last, by its steps; none of other ways.

    Raises:
        FromNoiseError: halving does not lead to the last, or the levels are too few: before the first is trained.
    """
    found: dict[int, Recipe] = {}
    way = recipe.distill.way if recipe.distill is not None else {}
    if not way or distill.get(way["name"]) is not Halving:
        return found
    given = {"steps": 4} | {key: value for key, value in way.items() if value is not None}
    twice = 2 * given["steps"] if isinstance(given["steps"], int) else 2
    end = students.build({"of": twice} | given)
    end.chain(schedules.build(recipe.schedule), end.steps, end.spacing)
    steps, own = end.of // 2, way
    while steps > end.steps:
        found[steps] = recipe.with_changes({"distill.way": own | {"steps": steps}})
        steps, own = steps // 2, {"name": "progressive"}  # the rest as its teacher says
    return found


def sampling(student: Student, usual: SampleConfig) -> SampleConfig:
    """How a student is sampled: by its own sampler, as often as it can walk, its guidance being its teacher's."""
    if student.sampler == usual.sampler["name"]:
        own: dict[str, Any] = {"steps": student.walks(usual.steps)}
    else:
        own = {"sampler": {"name": student.sampler}, "steps": student.calls, "spacing": None}
    return usual.model_copy(update=own if student.is_denoiser else own | {"guidance": 1.0})
