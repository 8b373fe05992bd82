"""The configuration of a branch, made from that of the model that it steers."""

from pathlib import Path
from typing import Any

from fromnoise import registry
from fromnoise.compose.control import insist_on_one_to_control
from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.recipes.diffusion import Recipe
from fromnoise.recipes.distillation import insist_on_names, unnamed_data
from fromnoise.recipes.sections import EvalConfig, SampleConfig
from fromnoise.weights import describing


def for_controlled(recipe: Recipe, denoiser: Denoiser, own: Recipe | None, where: Path) -> Recipe:
    """A recipe of a branch with the network, levels, data, classes, words and sampling of a model.

    Args:
        recipe: says how long it is trained, and what it is shown.
        denoiser: the model.
        own: its run's configuration; None for a model that was saved, whose data must then be named.
        where: it is from.

    Raises:
        FromNoiseError: it is a latent model, or another that takes no branch; or a part of it is an object of your own
            class, which a configuration cannot name.
    """
    insist_on_one_to_control(denoiser, where)
    if denoiser.codec is not None:
        raise FromNoiseError(f"{where}: is a latent model, and a branch takes images of the size of x: choose a model "
                             "of images")  # fmt: skip
    about = describing.describe(denoiser)
    insist_on_names(about, where, "make its branch in Python, by fn.compose.controlled")
    values: dict[str, Any] = {key: about[key] for key in ("schedule", "parameterization", "variance")}
    values["network"] = recipe.network | {"of": about["network"]}
    dropout = 0.1
    if own is not None:
        shared = own.model_dump(mode="json")
        values |= {key: shared[key] for key in ("data", "sample", "evaluate", "text")}
        if own.distill is None:
            values |= {key: shared[key] for key in ("objective", "times", "coupling")}
            dropout = own.train.label_dropout
        values["data"] |= {"augment": 0.0, "pairs": recipe.data.pairs}
    else:
        values |= {"data": unnamed_data(recipe, denoiser), "text": {} if denoiser.text else None}
        values |= {key: section.model_dump(mode="json") for key, section in _USUAL.items()}
    if denoiser.text is not None:  # reads as it does, whatever the captions are by now
        values["text"] = (values["text"] or {}) | {"encoder": registry.spec(denoiser.text)}
    values["train"] = recipe.train.model_dump(mode="json")
    values["train"]["label_dropout"] = dropout if denoiser.null_label is not None else 0.0
    return recipe.checked(recipe.model_dump(mode="json") | values)


_USUAL = {"sample": SampleConfig(), "evaluate": EvalConfig()}
"""Of a model that was saved without them."""
