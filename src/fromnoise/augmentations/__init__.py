"""Conditioning augmentations: degrade the small image so that a super-resolution model relies on it less."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "augmentation", shared=("base", "low_res"))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.augmentations.base import Augmentation as Augmentation
    from fromnoise.augmentations.blur import Blur as Blur
    from fromnoise.augmentations.noise import Noise as Noise
    from fromnoise.augmentations.none import NoAugmentation as NoAugmentation
else:
    __getattr__, __dir__ = lazy_registry(registry, Augmentation="base")
