"""Feature extractors: what images are turned into before sets of them are compared."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "feature extractor", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(registry, Extractor="base", Features="base")
