"""Couplings: how noise is paired with examples in training."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "coupling", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.couplings.base import Coupling as Coupling
    from fromnoise.couplings.given import Given as Given
    from fromnoise.couplings.independent import Independent as Independent
    from fromnoise.couplings.optimal_transport import OptimalTransport as OptimalTransport
else:
    __getattr__, __dir__ = lazy_registry(registry, Coupling="base")
