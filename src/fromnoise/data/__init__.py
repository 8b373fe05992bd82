"""Images to learn from: named data sets and folders, as uint8 in memory or streamed from disk."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(__name__, "data set")
names, get = registry.names, registry.get
__getattr__, __dir__ = lazy_registry(
    registry, Images="_images", DataConfig="_config", Feed="_feed", load="_load", Folder="_folder"
)
