"""Spacings: which levels of a schedule a sampler visits."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "spacing", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(registry, Spacing="base", ByTime="base", ByNoise="base")
