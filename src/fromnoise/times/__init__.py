"""Time samplings: which noise levels training uses, and how often."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "time sampling", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.times.base import TimeSampling as TimeSampling
    from fromnoise.times.importance import Importance as Importance
    from fromnoise.times.lognormal import LogNormal as LogNormal
    from fromnoise.times.mode import Mode as Mode
    from fromnoise.times.stratified import Stratified as Stratified
    from fromnoise.times.uniform import Uniform as Uniform
else:
    __getattr__, __dir__ = lazy_registry(registry, TimeSampling="base")
