"""Shrink images to the means over squares of pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fromnoise.data.images import Images, InMemory
from fromnoise.errors import FromNoiseError


def reduced(images: Images, factor: int) -> Images:
    """The images, each shrunk to the rounded means over squares of side `factor`.

    In a cascade, the super-resolution model is conditioned on such images.

    Raises:
        FromNoiseError: a side is not a multiple of the factor.
    """
    if factor == 1:
        return images
    if any(side % factor for side in images.shape[1:]):
        given = "x".join(map(str, images.shape[1:]))
        raise FromNoiseError(
            f"data.reduce {factor}: images of {given} are not divisible by it; give a data.size that is"
        )
    if isinstance(images, InMemory):
        pixels = _shrunk(images.pixels, factor)
        return InMemory(images.name, pixels, images.labels, images.classes, images.notes, images.captions)
    return _Reduced(images, factor)


@dataclass
class _Reduced(Images):
    """Images that are shrunk when they are read."""

    images: Images
    factor: int

    def __post_init__(self) -> None:
        c, h, w = self.images.shape
        self.name, self.shape = self.images.name, (c, h // self.factor, w // self.factor)
        self.classes, self.notes, self.in_memory = self.images.classes, self.images.notes, self.images.in_memory
        self.captions = self.images.captions
        self.follow(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        pixels, labels = self.images.batch(indices)
        return _shrunk(pixels, self.factor), labels

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        pixels, label = self.images[index]  # pyrefly: ignore[bad-index]
        return _shrunk(pixels[None], self.factor)[0], label


def _shrunk(pixels: Tensor, factor: int) -> Tensor:
    if pixels.is_floating_point():
        return F.avg_pool2d(pixels, factor)
    x = pixels.float()
    if x.shape[1] == 4:  # weighted by opacity; otherwise transparent pixels would darken every edge
        opacity = F.avg_pool2d(x[:, 3:], factor)
        colours = F.avg_pool2d(x[:, :3] * x[:, 3:], factor) / opacity.clamp_min(1e-6)
        return torch.cat([colours, opacity], 1).round().to(torch.uint8)
    return F.avg_pool2d(x, factor).round().to(pixels.dtype)
