"""What the studio can be asked to compute: a file each, named as the page asks for it."""

from fromnoise.registry import Registry

registry = Registry(__name__, "work", shared=("base", "seen", "watching"))
names, get, build = registry.names, registry.get, registry.build
