"""Learning rate schedules after the warm-up, one per file."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "learning rate schedule", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.train.lr_schedules.base import LRSchedule as LRSchedule
    from fromnoise.train.lr_schedules.constant import Constant as Constant
    from fromnoise.train.lr_schedules.cosine import Cosine as Cosine
    from fromnoise.train.lr_schedules.inverse_sqrt import InverseSqrt as InverseSqrt
else:
    __getattr__, __dir__ = lazy_registry(registry, LRSchedule="base")
