"""Smaller images: means over squares of pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from fromnoise.data.images import Images, InMemory
from fromnoise.errors import FromNoiseError


def reduced(images: Images, factor: int) -> Images:
    """Every image as the means over squares of `factor` pixels, rounded: what a cascade's larger model is told.

    Raises:
        FromNoiseError: a side is no multiple of the factor.
    """
    if factor == 1:
        return images
    if any(side % factor for side in images.shape[1:]):
        given = "x".join(map(str, images.shape[1:]))
        raise FromNoiseError(
            f"data.reduce {factor}: images of {given} are no multiple of it; give data.size one that is"
        )
    if isinstance(images, InMemory):
        pixels = _shrunk(images.pixels, factor)
        return InMemory(images.name, pixels, images.labels, images.classes, images.notes, images.captions)
    return _Reduced(images, factor)


@dataclass
class _Reduced(Images):
    """Shrunk when they are asked for."""

    images: Images
    factor: int

    def __post_init__(self) -> None:
        c, h, w = self.images.shape
        self.name, self.shape = self.images.name, (c, h // self.factor, w // self.factor)
        self.classes, self.notes, self.in_memory = self.images.classes, self.images.notes, self.images.in_memory
        self.captions = self.images.captions

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        pixels, labels = self.images.batch(indices)
        return _shrunk(pixels, self.factor), labels

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        pixels, label = self.images[index]  # pyrefly: ignore[bad-index]
        return _shrunk(pixels[None], self.factor)[0], label


def _shrunk(pixels: Tensor, factor: int) -> Tensor:
    return F.avg_pool2d(pixels.float(), factor).round().to(pixels.dtype)
