"""What is done to the small image that a super-resolution model is told, so that it trusts it less."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "augmentation", shared=("base", "low_res"))
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(registry, Augmentation="base")
