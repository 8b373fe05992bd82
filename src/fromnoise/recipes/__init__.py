"""Recipes: complete configurations from which runs start, one file per recipe."""

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
    """Load a recipe by name, from a YAML file, or from a Python file that defines `recipe`.

    Most recipes are a `Recipe`, for a denoiser; others are an `AutoencoderRecipe`, a `ClassifierConfig` or an
    `ImageTextConfig`.

    Raises:
        FromNoiseError: the name is unknown (the message has the nearest one), the file does not exist, or it holds no
            recipe.
    """
    path = files.expanded(name)
    if path.suffix in (".yaml", ".yml", ".py"):
        from fromnoise.recipes.reading import from_file

        return from_file(path)
    return registry.load(str(name))
