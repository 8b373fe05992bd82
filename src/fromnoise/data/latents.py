"""Latents of images, which are encoded once and mapped into memory."""

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
    """The latents of an encoded data set, float32 [N, c, h, w], with the labels and captions of its images.

    If mirrored images were encoded as well, latent i + N / 2 belongs to the mirror image of image i; it is not the
    mirror image of latent i.

    Args:
        folder: folder of the data set, as `fromnoise encode` writes it.
        progress, checked: see `precomputed.Parts`.

    Raises:
        FromNoiseError: the folder holds no latents, or its files are damaged or incomplete; see `precomputed.Parts`.
    """

    in_memory = True

    def __init__(self, folder: str | Path, progress: Progress | None = None, checked: bool = False):
        self.folder = Path(folder)
        self._parts = Parts(self.folder, progress, checked)
        self.description = about = self._parts.description
        if about.latent is None:
            raise FromNoiseError(f"{folder} holds encoded captions but no latents: encode with an autoencoder, too")
        self.name, self.classes, self.shape, self.scale = about.data, about.classes, about.latent, 1.0
        self.labels = torch.cat([part["labels"] for part in self._parts.tensors])
        own = self._parts.captions()
        self.captions = [*own, *own] if about.flip else own
        self.words = None if about.text is None else KeptText(self.folder, parts=self._parts)

    def __len__(self) -> int:
        return self.description.number * (1 + self.description.flip)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(latents times `scale`, float32 [B, c, h, w]; labels [B])."""
        numbers = np.asarray(indices)
        image = numbers % self.description.number
        mirrored = numbers >= self.description.number
        found = torch.empty(len(numbers), *self.shape)
        for name, these in (("latents", ~mirrored), ("mirrored", mirrored)):
            if these.any():
                found[torch.from_numpy(these)] = self._parts.rows(name, image[these])
        return self.scale * found, self.labels[torch.from_numpy(image)]

    def content(self) -> str | None:
        """A digest of the images, not of the latents, whose last bits differ between machines."""
        return self.description.content

    def std(self) -> float:
        """The standard deviation of all elements, before `scale`.

        It is computed from float64 sums that were stored for each batch when it was encoded. They are added without
        rounding, so that the result does not depend on how the data set is divided into parts.

        Raises:
            FromNoiseError: a part lacks these sums.
        """
        try:
            sums = [pair for part in self._parts.about for pair in part["sums"]]
            total, square = (math.fsum(float(pair[i]) for pair in sums) for i in range(2))
        except (KeyError, TypeError, ValueError, IndexError):
            raise FromNoiseError(
                f"{self.folder}: its parts do not hold the sums of their latents: encode it again"
            ) from None
        count = len(self) * math.prod(self.shape)
        return math.sqrt(max(square / count - (total / count) ** 2, 0.0))


def latents_in(source: object) -> Latents | None:
    """The `Latents` that the examples are, or are a part of; None if they are not latents."""
    while source is not None and not isinstance(source, Latents):
        source = getattr(source, "whole", None)
    return source if isinstance(source, Latents) else None
