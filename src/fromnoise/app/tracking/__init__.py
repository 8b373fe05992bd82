"""Where else the lines of a run's log go: `fromnoise train --track NAME`."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "tracker", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(registry, Tracker="base")
