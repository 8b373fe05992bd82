"""Variances of the reverse step."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "variance", shared=("base", "reverse", "optimal"))
"""`Optimal` is made from a function, which no name and no file could hold: it is used as an object only."""
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(registry, Variance="base", Optimal="optimal")
