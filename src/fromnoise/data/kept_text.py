"""Captions that were encoded ahead of training."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from fromnoise.data import precomputed
from fromnoise.data.images import Progress
from fromnoise.errors import FromNoiseError
from fromnoise.nn import text
from fromnoise.nn.text.base import TextEncoder


class KeptText:
    """The condition "text" of every image of an encoded data set, mapped into memory when it is first used.

    Attributes:
        encoder: that made it, ready to encode more.

    Args:
        folder: of the data set.
        progress: as of `precomputed.Parts`.
        parts: the same, where they are open already.
    """

    def __init__(self, folder: Path, progress: Progress | None = None, parts: precomputed.Parts | None = None):
        self.folder, self._progress, self._open = folder, progress, parts
        self.description = about = precomputed.describe(folder) if parts is None else parts.description
        if about.text is None or about.asked is None:
            raise FromNoiseError(f"{folder} holds no encoded captions")
        self.encoder: TextEncoder = text.build(about.text)
        self._asked: TextEncoder = text.build(about.asked)

    def is_of(self, captions: Sequence[str]) -> bool:
        """Whether these tidy captions are the ones, each in its place, once or over and over."""
        number = self.description.number
        own, times = list(captions[:number]), len(captions) // number
        return list(captions) == own * times and precomputed.of_captions(own) == self.description.captions

    def insist_on(self, encoder: TextEncoder) -> None:
        """That a model reads captions as they were encoded, and that they are whole.

        Raises:
            FromNoiseError: it does not; or as `precomputed.Parts`.
        """
        if encoder not in (self._asked, self.encoder) and not self.encoder.reads_as(encoder):
            raise FromNoiseError(f"{self.folder}: its captions were encoded by {_shown(self._asked)}, and "
                                 f"{_shown(encoder)} is asked for: take the former, or encode without text: the "
                                 "captions come along")  # fmt: skip
        _ = self._parts

    def rows(self, numbers: np.ndarray) -> Tensor:
        """Of these images, over and over: token numbers int64 [B, L], or embeddings float32 [B, 1 + L, W]."""
        found = self._parts.texts(numbers % self.description.number)
        return found if found.is_floating_point() else found.long()

    @cached_property
    def _parts(self) -> precomputed.Parts:
        return self._open or precomputed.Parts(self.folder, self._progress)


def _shown(encoder: TextEncoder) -> str:
    return f"{encoder!r:.120}"
