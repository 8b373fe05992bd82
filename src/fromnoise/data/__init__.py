"""Images to learn from: named data sets and folders, as uint8 in memory or streamed from disk."""

from fromnoise.lazy import lazy_registry
from fromnoise.registry import Registry

registry = Registry(
    __name__, "data set", shared=("images", "config", "loading", "hashing", "folder", "latents", "feed", "npz")
)
names, get = registry.names, registry.get
__getattr__, __dir__ = lazy_registry(
    registry, Images="images", DataConfig="config", Feed="feed", load="loading", Folder="folder"
)
