"""How good samples are: figures that compare two sets of images by their features."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "metric", shared=("base", "comparison", "figures"))
names, get, build = registry.names, registry.get, registry.build
__getattr__, __dir__ = lazy_registry(
    registry,
    Metric="base",
    Summary="figures",
    Statistics="_statistics",
    compare="comparison",
    summarise="comparison",
    distance="frechet",
    inception_score="inception_score:*",
    mmd="kernel",
    neighbours="precision_recall",
)
