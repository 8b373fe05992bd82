"""Weight formats: how other libraries write a model, each read, and most of them written."""

from fromnoise.registry import Registry

registry = Registry(__name__, "weight format", shared=("base", "said", "source", "strangers"))
names, get, build = registry.names, registry.get, registry.build
