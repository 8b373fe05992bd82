"""Spacings: which levels of a schedule a sampler visits."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "spacing", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.schedules.spacings.base import ByNoise as ByNoise
    from fromnoise.schedules.spacings.base import ByTime as ByTime
    from fromnoise.schedules.spacings.base import Spacing as Spacing
    from fromnoise.schedules.spacings.ddim import DDIM as DDIM
    from fromnoise.schedules.spacings.karras import Karras as Karras
    from fromnoise.schedules.spacings.log_snr import LogSNR as LogSNR
    from fromnoise.schedules.spacings.quadratic import Quadratic as Quadratic
    from fromnoise.schedules.spacings.trailing import Trailing as Trailing
    from fromnoise.schedules.spacings.uniform import Uniform as Uniform
else:
    __getattr__, __dir__ = lazy_registry(registry, Spacing="base", ByTime="base", ByNoise="base")
