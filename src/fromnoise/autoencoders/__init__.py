"""Recipes of autoencoders, one file for each: what `fromnoise train-autoencoder` trains."""

from typing import TYPE_CHECKING

from fromnoise.lazy import lazy_attributes
from fromnoise.registry import Registry

if TYPE_CHECKING:
    from fromnoise.autoencoders._recipe import AutoencoderRecipe

registry = Registry(__name__, "autoencoder recipe")
names = registry.names
__getattr__, __dir__ = lazy_attributes(__name__, AutoencoderRecipe="_recipe")


def load(name: str) -> "AutoencoderRecipe":
    """The AutoencoderRecipe of that name.

    Raises:
        FromNoiseError: an unknown name; the message has the nearest one.
    """
    return registry.load(name)
