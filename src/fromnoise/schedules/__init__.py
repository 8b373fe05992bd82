"""Noise schedules: they map a time to a noise level, and are the only code that interprets times."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "schedule", shared=("base", "continuous"))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.schedules.base import Chain as Chain
    from fromnoise.schedules.base import Discrete as Discrete
    from fromnoise.schedules.base import Schedule as Schedule
    from fromnoise.schedules.chain import GeneralChain as GeneralChain
    from fromnoise.schedules.cosine import Cosine as Cosine
    from fromnoise.schedules.edm import EDM as EDM
    from fromnoise.schedules.learned import Learned as Learned
    from fromnoise.schedules.linear import Linear as Linear
    from fromnoise.schedules.rectified import Rectified as Rectified
    from fromnoise.schedules.scaled_linear import ScaledLinear as ScaledLinear
    from fromnoise.schedules.sigmoid import Sigmoid as Sigmoid
    from fromnoise.schedules.sub_vp import SubVP as SubVP
    from fromnoise.schedules.ve import VE as VE
    from fromnoise.schedules.vp import VP as VP
    from fromnoise.schedules.zero_terminal import ZeroTerminal as ZeroTerminal
else:
    __getattr__, __dir__ = lazy_registry(registry, Schedule="base", Discrete="base", Chain="base")
