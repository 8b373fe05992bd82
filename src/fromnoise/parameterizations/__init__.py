"""Parameterisations: what a network's output means."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "parameterization", shared=("base", "prediction"))
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(registry, Parameterization="base", Equation="base", Prediction="prediction")
