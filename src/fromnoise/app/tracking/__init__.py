"""Trackers, which send a run's log elsewhere: `fromnoise train --track NAME`."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "tracker", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.app.tracking.base import Tracker as Tracker
    from fromnoise.app.tracking.studio import Studio as Studio
    from fromnoise.app.tracking.tensorboard import TensorBoard as TensorBoard
    from fromnoise.app.tracking.wandb import WandB as WandB
else:
    __getattr__, __dir__ = lazy_registry(registry, Tracker="base")
