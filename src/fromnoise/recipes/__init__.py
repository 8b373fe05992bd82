"""Recipes: complete configurations, one file for each, from which runs start."""

import importlib
from typing import TYPE_CHECKING

from fromnoise.lazy import lazy_attributes
from fromnoise.registry import Registry

if TYPE_CHECKING:
    from fromnoise.recipes._recipe import Recipe


class _Recipes(Registry):
    """Here a module holds a ready object, `recipe`, in place of a class."""

    def load(self, name: str) -> "Recipe":
        """The Recipe of that name.

        Raises:
            FromNoiseError: an unknown name; the message has the nearest one.
        """
        return importlib.import_module(f"{self.package}.{self._module(name)}").recipe


registry = _Recipes(__name__, "recipe")
names, load = registry.names, registry.load
__getattr__, __dir__ = lazy_attributes(__name__, Recipe="_recipe")
