"""The configuration of a control branch, derived from that of the model that it steers."""

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
    """The recipe of a branch, with the network, levels, data, classes, text and sampling options of a model.

    Args:
        recipe: the branch's own recipe, with the training options and the kind of condition image.
        denoiser: the model.
        own: the configuration of the model's run; None for a saved model, whose data must then be named.
        where: path of the model, for messages.

    Raises:
        FromNoiseError: the model is a latent model or another that cannot have a branch, or a part of it is of a class
            of your own, which a configuration cannot name.
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
    if denoiser.text is not None:  # the model's encoder, even if the data has other captions now
        values["text"] = (values["text"] or {}) | {"encoder": registry.spec(denoiser.text)}
    values["train"] = recipe.train.model_dump(mode="json")
    values["train"]["label_dropout"] = dropout if denoiser.null_label is not None else 0.0
    return recipe.checked(recipe.model_dump(mode="json") | values)


_USUAL = {"sample": SampleConfig(), "evaluate": EvalConfig()}
"""Defaults for a saved model, which has no such sections."""
