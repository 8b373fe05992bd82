"""A hash of a data set's images that does not depend on their location."""

import hashlib
from collections.abc import Callable, Iterable

from torch import Tensor

from fromnoise.data.images import Images, to_uint8
from fromnoise.system import rng


def batches(images: Images, size: int = 250) -> Iterable[tuple[int, Tensor]]:
    """Batches (index of the first image, uint8 pixels) of all images, in a fixed random order.

    The order is random because data sets are often sorted by class. Floating point images are rounded to 256 values, as
    for the metrics.
    """
    order = rng.permutation(0, 1, len(images)).tolist()
    for first in range(0, len(order), size):
        pixels = images.batch(order[first : first + size])[0]
        yield first, to_uint8(pixels) if pixels.is_floating_point() else pixels


def content_hash(images: Images, callback: Callable[[int], None] | None = None) -> str:
    """SHA-256 of shape and pixels, in the order of `batches`; `callback` gets the size of each batch."""
    digest = hashlib.sha256(repr((len(images), tuple(images.shape))).encode())
    for _, pixels in batches(images):
        digest.update(pixels.contiguous().numpy().tobytes())
        if callback is not None:
            callback(len(pixels))
    return digest.hexdigest()
