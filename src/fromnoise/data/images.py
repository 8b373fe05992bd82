"""The common interface of image data sets: numbered images of one size."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fromnoise.data.examples import Conditions, Examples, digest
from fromnoise.data.examples import spread as spread

Progress = Callable[[str, int], Callable[[], None]]
"""progress("what", total) returns a function that is called once for every item."""


class Images(Examples):
    """N images of one shape.

    Attributes:
        name: name of the data set in messages and reports.
        shape: (C, H, W).
        classes: names of the classes; empty if there are no labels.
        notes: lines for the user about how the data set was read.
        in_memory: whether `batch` needs no decoding.
    """

    name: str
    shape: tuple[int, int, int]  # pyrefly: ignore[bad-override-mutable-attribute]

    @abstractmethod
    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(images [B, C, H, W], uint8 or float32 in [-1, 1]; labels [B], int64, -1 for none)."""

    def examples(self, indices: Sequence[int]) -> tuple[Tensor, Conditions]:
        pixels, labels = self.batch(indices)
        return pixels, {"label": labels} if len(self.classes) else {}

    def content(self) -> str | None:
        return digest(self)


@dataclass
class InMemory(Images):
    """Images held as one tensor [N, C, H, W], uint8 or float32 in [-1, 1]."""

    name: str
    pixels: Tensor
    labels: Tensor | None = None
    classes: Sequence[str] = ()
    notes: Sequence[str] = field(default_factory=list)
    captions: Sequence[str] = ()
    in_memory = True

    @property
    def shape(self) -> tuple[int, int, int]:  # pyrefly: ignore[bad-override]
        c, h, w = self.pixels.shape[1:]
        return c, h, w

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        chosen = torch.as_tensor(np.asarray(indices))
        labels = self.labels[chosen] if self.labels is not None else torch.full((len(chosen),), -1)
        return self.pixels[chosen], labels


def to_unit(pixels: Tensor) -> Tensor:
    """uint8 0..255 -> float32 [-1, 1]: x / 127.5 - 1; floating point stays unchanged."""
    if pixels.is_floating_point():
        return pixels.float()
    return pixels.float().div_(127.5).sub_(1)


def to_uint8(x: Tensor) -> Tensor:
    """[-1, 1] -> uint8: clip, then round(127.5 (x + 1)), the inverse of `to_unit`."""
    return x.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
