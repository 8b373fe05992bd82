"""Distillation: training models that need few network calls, or only one, from a teacher or from data alone."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "distillation", shared=("base", "levels"))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.distill.base import Distillation as Distillation
    from fromnoise.distill.consistency_distillation import ConsistencyDistillation as ConsistencyDistillation
    from fromnoise.distill.consistency_training import ConsistencyTraining as ConsistencyTraining
    from fromnoise.distill.easy_consistency import EasyConsistency as EasyConsistency
    from fromnoise.distill.guidance import Guidance as Guidance
    from fromnoise.distill.mean_flow import MeanFlow as MeanFlow
    from fromnoise.distill.progressive import Progressive as Progressive
    from fromnoise.distill.reflow import Reflow as Reflow
else:
    __getattr__, __dir__ = lazy_registry(registry, Distillation="base")
