"""Weight formats of other libraries: all can be read, and most can be written."""

from fromnoise.registry import Registry

registry = Registry(__name__, "weight format", shared=("base", "said", "source", "strangers"))
names, get, build = registry.names, registry.get, registry.build
