"""Recipes: complete configurations, one file for each, from which runs start."""

from typing import TYPE_CHECKING

from fromnoise.lazy import lazy_attributes
from fromnoise.registry import Registry

if TYPE_CHECKING:
    from fromnoise.recipes.diffusion import Recipe

registry = Registry(__name__, "recipe", shared=("config", "diffusion", "classifier", "autoencoder"))
names = registry.names
__getattr__, __dir__ = lazy_attributes(__name__, Recipe="diffusion")


def load(name: str) -> "Recipe":
    """The Recipe of that name.

    Raises:
        FromNoiseError: an unknown name; the message has the nearest one.
    """
    return registry.load(name)
