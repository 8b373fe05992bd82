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
    """The encoded captions (the condition "text") of an encoded data set, mapped into memory on first use.

    Attributes:
        encoder: the encoder that made them; it can encode further texts.

    Args:
        folder: folder of the data set.
        progress: see `precomputed.Parts`.
        parts: the open parts of the data set, if there are any already.

    Raises:
        FromNoiseError: the data set holds no encoded captions.
    """

    def __init__(self, folder: Path, progress: Progress | None = None, parts: precomputed.Parts | None = None):
        self.folder, self._progress, self._open = folder, progress, parts
        self.description = about = precomputed.describe(folder) if parts is None else parts.description
        if about.text is None or about.asked is None:
            raise FromNoiseError(f"{folder} holds no encoded captions")
        self.encoder: TextEncoder = text.build(about.text)
        self._asked: TextEncoder = text.build(about.asked)

    def is_of(self, captions: Sequence[str]) -> bool:
        """Whether these captions, after `tidy`, are the data set's, in the same order, once or repeated."""
        number = self.description.number
        own, times = list(captions[:number]), len(captions) // number
        return list(captions) == own * times and precomputed.of_captions(own) == self.description.captions

    def insist_on(self, encoder: TextEncoder) -> None:
        """Check that a model's encoder is the one that made the captions, and that their files are intact.

        Raises:
            FromNoiseError: it is not, or they are not; see `precomputed.Parts`.
        """
        if encoder not in (self._asked, self.encoder) and not self.encoder.reads_as(encoder):
            raise FromNoiseError(f"{self.folder}: its captions were encoded by {_shown(self._asked)}, but "
                                 f"{_shown(encoder)} is asked for: use the former, or encode the data without text, "
                                 "which keeps the captions themselves")  # fmt: skip
        _ = self._parts

    def rows(self, numbers: np.ndarray) -> Tensor:
        """The encoded captions of images: token numbers int64 [B, L], or embeddings float32 [B, 1 + L, W].

        Numbers beyond the data set's size start from its first image again.
        """
        found = self._parts.texts(numbers % self.description.number)
        return found if found.is_floating_point() else found.long()

    @cached_property
    def _parts(self) -> precomputed.Parts:
        return self._open or precomputed.Parts(self.folder, self._progress)


def _shown(encoder: TextEncoder) -> str:
    return f"{encoder!r:.120}"
