"""Recipes: complete configurations, one file for each, from which runs start."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_attributes
from fromnoise.system.disk import files

registry = Registry(
    __name__,
    "recipe",
    shared=(
        "config",
        "sections",
        "diffusion",
        "classifier",
        "contrast",
        "autoencoder",
        "distillation",
        "controlled",
        "reading",
    ),
)
names = registry.names
if TYPE_CHECKING:
    from fromnoise.recipes.autoencoder import AutoencoderRecipe as AutoencoderRecipe
    from fromnoise.recipes.classifier import ClassifierConfig as ClassifierConfig
    from fromnoise.recipes.config import RunConfig as RunConfig
    from fromnoise.recipes.contrast import ImageTextConfig as ImageTextConfig
    from fromnoise.recipes.diffusion import Recipe as Recipe
else:
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        AutoencoderRecipe="autoencoder",
        ClassifierConfig="classifier",
        ImageTextConfig="contrast",
        Recipe="diffusion",
        RunConfig="config",
    )


def load(name: str | Path) -> Any:
    """The configuration of that name, of a YAML file, or of a Python file that holds a `recipe`.

    Most are a `Recipe`, of a denoiser; some an `AutoencoderRecipe` or a `ClassifierConfig`.

    Raises:
        FromNoiseError: an unknown name, with the nearest one; no such file, or no recipe in it.
    """
    path = files.expanded(name)
    if path.suffix in (".yaml", ".yml", ".py"):
        from fromnoise.recipes.reading import from_file

        return from_file(path)
    return registry.load(str(name))
