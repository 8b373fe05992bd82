"""Networks: plain torch modules, F(x, time) and autoencoders, which know nothing of diffusion."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(
    __name__, "network", shared=("coder", "layers", "norm", "dropout", "twice", "recompute", "conditioning", "encoder")
)
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(registry, twice_differentiable="twice", recompute_blocks="recompute")
