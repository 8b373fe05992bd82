"""Images with the embeddings that an image-text model gives them, and the embeddings by themselves: unCLIP's data."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fromnoise import checks
from fromnoise.compose.unclip import CONDITION, embed
from fromnoise.data.examples import Conditions, Examples
from fromnoise.data.feed import as_state
from fromnoise.errors import FromNoiseError
from fromnoise.guidance.image_text import ImageText

_TOGETHER = 256


def embeddings(
    examples: Examples, image_text: ImageText, progress: Callable[[str, int], Callable[[], None]] | None = None
) -> Tensor:
    """z_i = sqrt(D) u(x_i) of every example: float32 [N, D], on the CPU.

    Args:
        examples: images of the model's shape.
        image_text: as of `compose.unclip.embed`.
        progress: progress("what", total) returns a function that is called once for every example.

    Raises:
        FromNoiseError: images of another shape.
    """
    checks.instance("image_text", image_text, ImageText)
    if tuple(examples.shape) != image_text.shape:
        raise FromNoiseError(f"the image-text model is of images {list(image_text.shape)}, and {examples.name} has "
                             f"{list(examples.shape)}: train one of their size")  # fmt: skip
    advance, parts = progress("embedding the images", len(examples)) if progress else None, []
    for start in range(0, len(examples), _TOGETHER):
        x, _ = examples.examples(range(start, min(start + _TOGETHER, len(examples))))
        parts.append(embed(image_text, as_state(x, None)).cpu())
        for _ in range(len(x) if advance else 0):
            advance()  # pyrefly: ignore[not-callable]
    return torch.cat(parts)


class Embedded(Examples):
    """Each example of another set with the condition "image_embedding", its own: what unCLIP's decoder learns from.

    Args:
        whole: the examples.
        table: of `embeddings`, [N, D].

    Raises:
        FromNoiseError: not one for each example.
    """

    def __init__(self, whole: Examples, table: Tensor):
        self.whole, self.table = whole, _one_each(whole, table)
        self.name, self.shape, self.classes, self.captions = whole.name, whole.shape, whole.classes, whole.captions
        self.notes, self.in_memory = whole.notes, whole.in_memory

    def __len__(self) -> int:
        return len(self.whole)

    def examples(self, indices: Sequence[int]) -> tuple[Tensor, Conditions]:
        x, conditions = self.whole.examples(indices)
        return x, conditions | {CONDITION: self.table[torch.as_tensor(np.asarray(indices))]}

    def content(self) -> str | None:
        """Of the images: embeddings that another machine computes differ in their last bits."""
        return self.whole.content()


class Embeddings(Examples):
    """The embeddings of the examples of another set, with its captions: what unCLIP's prior learns from.

    Args:
        whole, table: as of `Embedded`.

    Raises:
        FromNoiseError: not one for each example.
    """

    in_memory = True

    def __init__(self, whole: Examples, table: Tensor):
        self.whole, self.table = whole, _one_each(whole, table)
        self.name, self.shape, self.classes, self.captions = (
            whole.name,
            (table.shape[1],),
            whole.classes,
            whole.captions,
        )
        self.notes = whole.notes

    def __len__(self) -> int:
        return len(self.whole)

    def examples(self, indices: Sequence[int]) -> tuple[Tensor, Conditions]:
        return self.table[torch.as_tensor(np.asarray(indices))], {}

    def content(self) -> str | None:
        """Of the images, as `Embedded`'s."""
        return self.whole.content()


def _one_each(whole: Examples, table: Tensor) -> Tensor:
    if table.dim() != 2 or len(table) != len(whole):
        raise FromNoiseError(f"{whole.name} has {len(whole)} examples, and the embeddings are {list(table.shape)}: "
                             "give one for each, [N, D]")  # fmt: skip
    return table
