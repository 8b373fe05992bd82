"""Feature extractors: networks that turn images into the feature vectors that metrics compare."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(__name__, "feature extractor", shared=("base",))
names, get, build = registry.names, registry.get, registry.build
if TYPE_CHECKING:
    from fromnoise.metrics.features.base import Extractor as Extractor
    from fromnoise.metrics.features.base import Features as Features
    from fromnoise.metrics.features.clip import ClipImage as ClipImage
    from fromnoise.metrics.features.digits import Digits as Digits
    from fromnoise.metrics.features.dinov2 import DinoV2 as DinoV2
    from fromnoise.metrics.features.efficientnet_lite0 import EfficientNetLite0 as EfficientNetLite0
    from fromnoise.metrics.features.inception import Inception as Inception
else:
    __getattr__, __dir__ = lazy_registry(registry, Extractor="base", Features="base")
