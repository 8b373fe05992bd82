"""The training data of unCLIP: images with their embeddings by an image-text model, and the embeddings alone."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fromnoise.compose.unclip import CONDITION, embed
from fromnoise.data.examples import Conditions, Examples
from fromnoise.data.feed import as_state
from fromnoise.errors import FromNoiseError
from fromnoise.guidance.image_text import ImageText
from fromnoise.system import checks

_TOGETHER = 256


def embeddings(
    examples: Examples, image_text: ImageText, progress: Callable[[str, int], Callable[[], None]] | None = None
) -> Tensor:
    """Embed every example: z_i = sqrt(D) u(x_i), float32 [N, D], on the CPU.

    Args:
        examples: images of the model's shape.
        image_text: the image-text model; see `compose.unclip.embed`.
        progress: progress("what", total) returns a function that is called once for every example.

    Raises:
        FromNoiseError: the shape of the images is not that of the model.
    """
    checks.instance("examples", examples, Examples)
    checks.instance("image_text", image_text, ImageText)
    if tuple(examples.shape) != image_text.shape:
        raise FromNoiseError(f"the image-text model is for images {list(image_text.shape)}, but {examples.name} has "
                             f"{list(examples.shape)}: train one for their size")  # fmt: skip
    advance, parts = progress("embedding the images", len(examples)) if progress else None, []
    for start in range(0, len(examples), _TOGETHER):
        x, _ = examples.examples(range(start, min(start + _TOGETHER, len(examples))))
        parts.append(embed(image_text, as_state(x, None)).cpu())
        for _ in range(len(x) if advance else 0):
            advance()  # pyrefly: ignore[not-callable]
    return torch.cat(parts)


def made_by(source: object) -> str | None:
    """The `of` of embedded examples, or of the set that they are a part of; None if there is none."""
    while source is not None and not isinstance(source, _Tabled):
        source = getattr(source, "whole", None)
    return source.of or None if isinstance(source, _Tabled) else None


class _Tabled(Examples):
    """A data set with an embedding for each example; see `Embedded`."""

    def __init__(self, whole: Examples, table: Tensor, of: str = ""):
        checks.instance("whole", whole, Examples)
        checks.floats(table=table)
        if table.dim() != 2 or len(table) != len(whole):
            raise FromNoiseError(f"{whole.name} has {len(whole)} examples, but the embeddings are "
                                 f"{list(table.shape)}: give one for each, [N, D]")  # fmt: skip
        self.whole, self.table, self.of = whole, table, of
        self.name, self.classes, self.captions, self.notes = whole.name, whole.classes, whole.captions, whole.notes
        self.follow(whole)

    def __len__(self) -> int:
        return len(self.whole)

    def content(self) -> str | None:
        """A digest of the images and of `of`, not of the embeddings, whose last bits differ between machines."""
        own = self.whole.content()
        return own if own is None or not self.of else hashlib.sha256(f"{own} {self.of}".encode()).hexdigest()

    def _rows(self, indices: Sequence[int]) -> Tensor:
        return self.table[torch.as_tensor(np.asarray(indices))]


class Embedded(_Tabled):
    """The examples of a data set, each with its embedding as the condition "image_embedding": for unCLIP's decoder.

    Args:
        whole: the examples.
        table: the output of `embeddings`, [N, D].
        of: identifies the model that made the table, e.g. by the hash of its weights; a run is not resumed with a table
            of another model.

    Raises:
        FromNoiseError: the table does not have one embedding for each example.
    """

    def __init__(self, whole: Examples, table: Tensor, of: str = ""):
        super().__init__(whole, table, of)
        self.shape, self.in_memory = whole.shape, whole.in_memory

    def examples(self, indices: Sequence[int]) -> tuple[Tensor, Conditions]:
        x, conditions = self.whole.examples(indices)
        return x, conditions | {CONDITION: self._rows(indices)}


class Embeddings(_Tabled):
    """The embeddings of a data set's examples, with its captions: for unCLIP's prior.

    Args:
        whole: the examples.
        table: the output of `embeddings`, [N, D].
        of: identifies the model that made the table; see `Embedded`.

    Raises:
        FromNoiseError: the table does not have one embedding for each example.
    """

    in_memory = True

    def __init__(self, whole: Examples, table: Tensor, of: str = ""):
        super().__init__(whole, table, of)
        self.shape = (table.shape[1],)

    def examples(self, indices: Sequence[int]) -> tuple[Tensor, Conditions]:
        return self._rows(indices), {}
