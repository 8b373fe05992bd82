"""Time samplings: which noise levels training looks at, and how often."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "time sampling", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(registry, TimeSampling="base")
