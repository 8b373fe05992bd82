"""Reading recipes from YAML files, such as a run's config.yaml, or from Python files named by the user."""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromnoise.errors import FromNoiseError, unknown
from fromnoise.system.disk import files

if TYPE_CHECKING:
    from fromnoise.recipes.config import RunConfig


_LIMIT = 2**20
"""Largest size of a configuration file, in bytes."""


def from_file(path: Path) -> "RunConfig":
    """A recipe from NAME.yaml, or from the variable `recipe` of NAME.py, which is executed.

    A YAML file with the key `base` only holds the differences from the recipe with that name.

    Raises:
        FromNoiseError: the file does not exist or holds no recipe, or is a Python file inside a run's folder, which is
            never executed.
    """
    if not os.path.lexists(path):
        raise FromNoiseError(f"{path}: no such file; name one, or a recipe: see fromnoise list recipes")
    found = _executed(path) if path.suffix == ".py" else parsed(files.read_text(path, _LIMIT), path)
    return found if found.recipe else found.model_copy(update={"recipe": path.stem})


def from_values(values: Mapping[str, Any], where: Path) -> "RunConfig":
    """A configuration of any kind from plain values.

    Raises:
        FromNoiseError: a kind or key is unknown, or a value is wrong.
    """
    from fromnoise import recipes
    from fromnoise.recipes.config import merged

    values = {"recipe": where.stem, **values}
    if "base" in values:
        name = values.pop("base")
        if not isinstance(name, str) or name.replace("_", "-") not in recipes.registry.names():
            raise FromNoiseError(f"{where}: base: {unknown('recipe', name, recipes.registry.names())}")
        base = recipes.load(name)
        return type(base).checked(merged(base.model_dump(mode="json"), values))
    kinds = {cls.model_fields["kind"].default: cls for cls in _kinds()}
    kind = values.get("kind", "diffusion")  # older runs have no kind
    if not isinstance(kind, str) or kind not in kinds:
        raise FromNoiseError(f"{where}: kind {kind!r}; it is one of {', '.join(kinds)}")
    return kinds[kind].checked(values)


def _kinds() -> "tuple[type[RunConfig], ...]":
    from fromnoise.recipes.autoencoder import AutoencoderRecipe
    from fromnoise.recipes.classifier import ClassifierConfig
    from fromnoise.recipes.contrast import ImageTextConfig
    from fromnoise.recipes.diffusion import Recipe

    return Recipe, AutoencoderRecipe, ClassifierConfig, ImageTextConfig


def parsed(text: str, path: Path) -> "RunConfig":
    """A configuration from the text of a YAML file; see `from_values` for the errors."""
    values = files.parse_yaml(text, path)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise FromNoiseError(f"{path}: not a configuration, which has keys such as network, data and train")
    try:
        return from_values(values, path)
    except FromNoiseError as error:
        raise FromNoiseError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def _executed(path: Path) -> "RunConfig":
    from fromnoise.recipes.config import RunConfig

    above = path.resolve().parents
    if any((folder / "config.yaml").exists() and (folder / "checkpoints").exists() for folder in above):
        raise FromNoiseError(f"{path}: lies in the folder of a run, from which no code is executed: copy it elsewhere")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        raise FromNoiseError(f"{path}: {type(error).__name__}: {str(error).strip() or 'no message'}") from error
    found = getattr(module, "recipe", None)
    if not isinstance(found, RunConfig):
        raise FromNoiseError(f'{path}: holds no `recipe`: recipe = fn.recipes.load("digits").with_changes({{...}})')
    return found
