"""How the learning rate goes after the warm-up, one file for each."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "learning rate schedule", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(registry, LRSchedule="base")
