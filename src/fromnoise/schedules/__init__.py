"""Noise schedules: the only code that knows what a time means."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "schedule", shared=("base", "continuous", "spacing"))
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(registry, Schedule="base", Discrete="base", Chain="base")
