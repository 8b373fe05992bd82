"""Training data: named data sets, folders, archives and arrays of images, held in memory or read while training."""

from typing import TYPE_CHECKING

from fromnoise.registry import Registry
from fromnoise.registry.lazy import lazy_registry

registry = Registry(
    __name__,
    "data set",
    shared=(
        "archives",
        "arrays",
        "augment",
        "captions",
        "computed",
        "config",
        "decode",
        "embedded",
        "encoded",
        "examples",
        "feed",
        "fitted",
        "fitting",
        "folder",
        "hashing",
        "huggingface",
        "images",
        "kept_text",
        "latents",
        "loading",
        "npz",
        "order",
        "own",
        "paired",
        "pairs",
        "precomputed",
        "remembered",
        "shard_index",
        "streamed",
        "values",
        "worded",
    ),
)
names, get = registry.names, registry.get
if TYPE_CHECKING:
    from fromnoise.data.augment import Augment as Augment
    from fromnoise.data.cifar10 import CIFAR10 as CIFAR10
    from fromnoise.data.computed import edges as edges
    from fromnoise.data.config import DataConfig as DataConfig
    from fromnoise.data.digits import Digits as Digits
    from fromnoise.data.embedded import Embedded as Embedded
    from fromnoise.data.embedded import Embeddings as Embeddings
    from fromnoise.data.embedded import embeddings as embeddings
    from fromnoise.data.emoji import Emoji as Emoji
    from fromnoise.data.examples import Examples as Examples
    from fromnoise.data.fashion_mnist import FashionMNIST as FashionMNIST
    from fromnoise.data.feed import Feed as Feed
    from fromnoise.data.images import Images as Images
    from fromnoise.data.latents import Latents as Latents
    from fromnoise.data.loading import load as load
    from fromnoise.data.mnist import MNIST as MNIST
    from fromnoise.data.paired import Paired as Paired
    from fromnoise.data.paired import reflow_pairs as reflow_pairs
    from fromnoise.data.shard_index import write_index as write_index
    from fromnoise.data.streamed import stream as stream
    from fromnoise.data.worded import Worded as Worded
else:
    __getattr__, __dir__ = lazy_registry(
        registry,
        Augment="augment",
        Examples="examples",
        Images="images",
        DataConfig="config",
        Embedded="embedded",
        Embeddings="embedded",
        embeddings="embedded",
        edges="computed",
        Feed="feed",
        Latents="latents",
        load="loading",
        Paired="paired",
        reflow_pairs="paired",
        stream="streamed",
        Worded="worded",
        write_index="shard_index",
    )
