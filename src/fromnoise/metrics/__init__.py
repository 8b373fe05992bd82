"""Metrics: compare two sets of images by their features."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "metric", shared=("base", "comparison", "figures", "memorisation"))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.metrics import inception_score as inception_score
    from fromnoise.metrics._statistics import Statistics as Statistics
    from fromnoise.metrics.base import Metric as Metric
    from fromnoise.metrics.class_accuracy import ClassAccuracy as ClassAccuracy
    from fromnoise.metrics.comparison import compare as compare
    from fromnoise.metrics.comparison import summarise as summarise
    from fromnoise.metrics.figures import Summary as Summary
    from fromnoise.metrics.frechet import Frechet as Frechet
    from fromnoise.metrics.frechet import distance as distance
    from fromnoise.metrics.inception_score import InceptionScore as InceptionScore
    from fromnoise.metrics.kernel import Kernel as Kernel
    from fromnoise.metrics.kernel import mmd as mmd
    from fromnoise.metrics.memorisation import near_copies as near_copies
    from fromnoise.metrics.memorisation import nearest as nearest
    from fromnoise.metrics.precision_recall import PrecisionRecall as PrecisionRecall
    from fromnoise.metrics.precision_recall import neighbours as neighbours
else:
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
        near_copies="memorisation",
        nearest="memorisation",
        neighbours="precision_recall",
    )
