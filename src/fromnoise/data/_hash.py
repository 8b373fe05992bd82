"""What images these are, wherever they lie."""

import hashlib
from collections.abc import Callable

from fromnoise.data._images import Images


def content_hash(images: Images, callback: Callable[[int], None] | None = None, batch: int = 256) -> str:
    """SHA-256 of shape and pixels, in their order; `callback` is told how many more were read."""
    digest = hashlib.sha256(repr((len(images), tuple(images.shape))).encode())
    for start in range(0, len(images), batch):
        pixels = images.batch(range(start, min(start + batch, len(images))))[0]
        digest.update(pixels.contiguous().numpy().tobytes())
        if callback is not None:
            callback(len(pixels))
    return digest.hexdigest()
