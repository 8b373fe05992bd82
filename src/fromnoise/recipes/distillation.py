"""The configuration of a student, derived from that of its teacher."""

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
from fromnoise.parameterizations.students.progressive import Progressive
from fromnoise.recipes.diffusion import Recipe
from fromnoise.weights import describing


def for_teacher(recipe: Recipe, teacher: Denoiser, own: Recipe | None, where: Path) -> Recipe:
    """The recipe of a distillation, with the network, levels, data and classes of a teacher.

    Args:
        recipe: a recipe with `distill`.
        teacher: the denoiser.
        own: the configuration of the teacher's run; None for a saved model, whose data must then be named.
        where: path of the teacher, for messages.

    Raises:
        FromNoiseError: the teacher has a part of a class of your own, which a configuration cannot name, is a saved
            latent or super-resolution model, has a control branch, or is a stage of unCLIP.
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
    if not teacher.null_cond:  # it cannot be guided, although the recipe asks for it
        changed["guidance"] = 1.0
    if issubclass(way, Halving) and isinstance(teacher.student, Progressive):
        changed["way"] = recipe.distill.way | {"of": teacher.student.steps}  # halving goes on from the teacher
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
    """Check that a recipe can name all parts of a model with the description `about`.

    Raises:
        FromNoiseError: a part is of a class of your own; `otherwise` says what to do instead.
    """
    for part in ("network", "schedule", "parameterization"):
        if isinstance(about[part], dict) and "name" not in about[part]:
            raise FromNoiseError(f"{where}: its {part} is of a class of yours, which no recipe can name: {otherwise}")


def unnamed_data(recipe: Recipe, model: Denoiser) -> dict[str, Any]:
    """The data section for a saved model, which does not record its data: size and channels, and a placeholder name."""
    values = recipe.data.model_dump(mode="json")
    if len(model.shape or ()) == 3:
        channels, *size = model.shape or ()
        values |= {"name": "images", "channels": channels, "size": size}
    return values


def rungs(recipe: Recipe) -> dict[int, Recipe]:
    """For progressive distillation: the configurations of all students before the last, by number of steps; else empty.

    Raises:
        FromNoiseError: repeated halving does not lead to the last number of steps, or the schedule has too few levels.
            This is raised before the first student is trained.
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
        steps, own = steps // 2, {"name": "progressive"}  # other options come from its teacher
    return found
