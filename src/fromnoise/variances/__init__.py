"""Variances of the reverse step."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "variance", shared=("base", "reverse", "optimal"))
"""`Optimal` is made from a function, which a file cannot store: it has no name and is used as an object only."""
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.variances.base import Variance as Variance
    from fromnoise.variances.fixed_large import FixedLarge as FixedLarge
    from fromnoise.variances.fixed_small import FixedSmall as FixedSmall
    from fromnoise.variances.learned_range import LearnedRange as LearnedRange
    from fromnoise.variances.optimal import Optimal as Optimal
else:
    __getattr__, __dir__ = lazy_registry(registry, Variance="base", Optimal="optimal")
