"""Networks: plain torch modules, F(x, time) and autoencoders, which know nothing of diffusion."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "network")
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(registry, twice_differentiable="_twice", recompute_blocks="_recompute")
