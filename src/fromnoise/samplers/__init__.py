"""Samplers: ways to walk a chain of levels from noise to data."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "sampler", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(registry, Sampler="base", Moment="base", sample="base", walk="base")
