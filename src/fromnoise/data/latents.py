"""Latents in place of images: encoded once, kept in a file that is mapped into memory."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fromnoise.data.images import Images, to_unit
from fromnoise.system.disk import storage

Encode = Callable[[Tensor], Tensor]


class Latents(Images):
    """float32 latents [N, c, h, w] of images, and their labels.

    Args:
        images: what they are of.
        folder: that `write` made.
    """

    def __init__(self, images: Images, folder: Path):
        self.array = np.load(folder / "latents.npy", mmap_mode="r")
        self.labels = torch.from_numpy(np.load(folder / "labels.npy"))
        self.name, self.classes, self.notes, self.in_memory = images.name, images.classes, images.notes, True
        _, c, h, w = self.array.shape
        self.shape = (c, h, w)
        self.scale = 1.0
        self._images = images

    def __len__(self) -> int:
        return len(self.array)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """float32 [B, c, h, w], times the scale, and labels."""
        chosen = np.asarray(indices)
        return self.scale * torch.from_numpy(np.array(self.array[chosen])), self.labels[torch.as_tensor(chosen)]

    def content(self) -> str | None:
        """Of the images: latents that another machine encodes differ in their last bits."""
        return self._images.content()

    def std(self) -> float:
        """Of all elements, before the scale; float64 sums over parts: the file may be larger than memory."""
        total = square = count = 0.0
        for start in range(0, len(self.array), 1024):
            part = self.array[start : start + 1024].astype(np.float64)
            total, square, count = total + part.sum(), square + (part**2).sum(), count + part.size
        return float(np.sqrt(square / count - (total / count) ** 2))


def write(
    images: Images,
    encode: Encode,
    folder: Path,
    shape: tuple[int, ...],
    mirrored: bool,
    advance: Callable[[int], object] = lambda n: None,
    batch: int = 64,
) -> None:
    """Encode every image into a folder that is whole or absent, with a manifest.

    Args:
        images: N of them.
        encode: images in [-1, 1] -> latents.
        folder: to write.
        shape: of a latent.
        mirrored: whether each image is followed, N places later, by its mirror image, since the latent of that is not
            the mirror image of the latent.
        advance: called with how many more are encoded.
        batch: images that are encoded together.
    """
    n = len(images) * (1 + mirrored)
    labels = np.empty(n, np.int64)
    with storage.making(folder) as writing:
        array = np.lib.format.open_memmap(writing / "latents.npy", "w+", np.float32, (n, *shape))
        for start in range(0, len(images), batch):
            pixels, own = images.batch(range(start, min(start + batch, len(images))))
            x = to_unit(pixels)
            for place, seen in ((start, x), (start + len(images), x.flip(-1)))[: 1 + mirrored]:
                array[place : place + len(x)] = encode(seen).cpu().numpy()
                labels[place : place + len(x)] = own
                advance(len(x))
        array.flush()
        np.save(writing / "labels.npy", labels)
