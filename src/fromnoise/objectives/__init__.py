"""Objectives: what training minimises."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "objective", shared=("base", "score_matching"))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.objectives.base import Objective as Objective
    from fromnoise.objectives.denoising import Denoising as Denoising
    from fromnoise.objectives.exact import Exact as Exact
    from fromnoise.objectives.hybrid import Hybrid as Hybrid
    from fromnoise.objectives.min_snr import MinSNR as MinSNR
    from fromnoise.objectives.simple import Simple as Simple
    from fromnoise.objectives.sliced import Sliced as Sliced
    from fromnoise.objectives.two_draw import TwoDraw as TwoDraw
    from fromnoise.objectives.vlb import Vlb as Vlb
    from fromnoise.objectives.weighted import WeightedTerm as WeightedTerm
else:
    __getattr__, __dir__ = lazy_registry(registry, Objective="base")
