"""Optimisers: what turns gradients into steps."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "optimizer", shared=("base", "making", "newton_schulz", "wrapped"))
names, get = registry.names, registry.get
__getattr__, __dir__ = lazy_registry(registry, Optimizer="base", Wrapped="wrapped", build="making")
