"""Objectives: what training minimises."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "objective", shared=("base", "score_matching"))
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(registry, Objective="base")
