"""Optimisers, which turn gradients into steps."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "optimizer", shared=("base", "exchange", "making", "newton_schulz", "wrapped"))
names, get = registry.names, registry.get
if TYPE_CHECKING:
    from fromnoise.train.optimizers.adamw import AdamW as AdamW
    from fromnoise.train.optimizers.base import Optimizer as Optimizer
    from fromnoise.train.optimizers.making import build as build
    from fromnoise.train.optimizers.muon import Muon as Muon
    from fromnoise.train.optimizers.wrapped import Wrapped as Wrapped
else:
    __getattr__, __dir__ = lazy_registry(registry, Optimizer="base", Wrapped="wrapped", build="making")
