"""Samplers: ways to walk a chain of levels from noise to data."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "sampler")
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(registry, Sampler="_base", Moment="_base", sample="_base", walk="_base")
