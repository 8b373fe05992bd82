"""Latents of images: encoded once, and mapped into memory."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fromnoise.data.images import Images, Progress
from fromnoise.data.kept_text import KeptText
from fromnoise.data.precomputed import Parts
from fromnoise.errors import FromNoiseError


class Latents(Images):
    """float32 latents [N, c, h, w] of an encoded data set, with the labels and captions of its images.

    Where mirror images were encoded, that of image i is latent i + N / 2: it is not the mirror image of the latent.

    Args:
        folder: of the data set, as `fromnoise encode` writes it.
        progress, checked: as of `precomputed.Parts`.

    Raises:
        FromNoiseError: it holds no latents; or as of `precomputed.Parts`.
    """

    in_memory = True

    def __init__(self, folder: str | Path, progress: Progress | None = None, checked: bool = False):
        self.folder = Path(folder)
        self._parts = Parts(self.folder, progress, checked)
        self.description = about = self._parts.description
        if about.latent is None:
            raise FromNoiseError(f"{folder} holds encoded captions, and no latents: encode with an autoencoder, too")
        self.name, self.classes, self.shape, self.scale = about.data, about.classes, about.latent, 1.0
        self.labels = torch.cat([part["labels"] for part in self._parts.tensors])
        own = self._parts.captions()
        self.captions = [*own, *own] if about.flip else own
        self.words = None if about.text is None else KeptText(self.folder, parts=self._parts)

    def __len__(self) -> int:
        return self.description.number * (1 + self.description.flip)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """float32 [B, c, h, w], times the scale, and labels."""
        numbers = np.asarray(indices)
        image = numbers % self.description.number
        mirrored = numbers >= self.description.number
        found = torch.empty(len(numbers), *self.shape)
        for name, these in (("latents", ~mirrored), ("mirrored", mirrored)):
            if these.any():
                found[torch.from_numpy(these)] = self._parts.rows(name, image[these])
        return self.scale * found, self.labels[torch.from_numpy(image)]

    def content(self) -> str | None:
        """Of the images: latents that another machine encodes differ in their last bits."""
        return self.description.content

    def std(self) -> float:
        """Of all elements, before the scale: from the float64 sums that were taken of each batch when it was encoded,
        added up without rounding, so that it is the same however the parts were cut.

        Raises:
            FromNoiseError: a part does not have them.
        """
        try:
            sums = [pair for part in self._parts.about for pair in part["sums"]]
            total, square = (math.fsum(float(pair[i]) for pair in sums) for i in range(2))
        except (KeyError, TypeError, ValueError, IndexError):
            raise FromNoiseError(
                f"{self.folder}: its parts do not say the sums of their latents: encode it again"
            ) from None
        count = len(self) * math.prod(self.shape)
        return math.sqrt(max(square / count - (total / count) ** 2, 0.0))


def latents_in(source: object) -> Latents | None:
    """The latents that examples are, or are a part of; None where they are none."""
    while source is not None and not isinstance(source, Latents):
        source = getattr(source, "whole", None)
    return source if isinstance(source, Latents) else None
