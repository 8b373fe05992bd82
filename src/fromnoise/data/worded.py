"""Examples with their encoded captions as the condition `text`."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fromnoise.data.captions import Streamed
from fromnoise.data.examples import Conditions, Examples
from fromnoise.errors import FromNoiseError
from fromnoise.nn.text.base import TextEncoder, insist_on_texts, tidy
from fromnoise.system import checks
from fromnoise.system.disk import storage

if TYPE_CHECKING:
    from fromnoise.data.kept_text import KeptText

_TOGETHER = 256
_FITTED = 10_000
"""Captions of a stream that an encoder is fitted to."""


class Worded(Examples):
    """The examples of a data set with their encoded captions as the condition "text".

    Each different caption is encoded once, and captions that `fromnoise encode` encoded ahead of training are not
    encoded again. Streamed captions are encoded when they are read, by the process that reads them. An example without
    a caption has no text.

    Args:
        whole: the examples.
        encoder: the text encoder. It is fitted to the captions (of a stream: to those of the first shard), and the
            attribute `encoder` holds the result.
        captions: captions of the examples; default: their own. If there are fewer than examples, they are repeated, as
            for images that are followed by their mirror images.
        progress: progress("what", total) returns a function that is called once for every caption that is encoded.

    Raises:
        FromNoiseError: no example has a caption, a caption is not a string, the number of captions does not divide that
            of the examples, they were encoded ahead by another encoder, or encoding fails.
    """

    def __init__(
        self,
        whole: Examples,
        encoder: TextEncoder,
        captions: Sequence[str] | None = None,
        progress: Callable[[str, int], Callable[[], None]] | None = None,
    ):
        checks.instance("whole", whole, Examples)
        checks.instance("encoder", encoder, TextEncoder)
        given = whole.captions if captions is None else captions
        self.streamed = given if isinstance(given, Streamed) else None
        given = insist_on_texts("captions", self.streamed.few(_FITTED) if self.streamed is not None else given)
        self.whole, found = whole, [tidy(text) for text in given]
        insist_on_captions(whole, found)
        n = len(found if self.streamed is None else self.streamed)
        if len(whole) % n:
            raise FromNoiseError(f"{whole.name} has {len(whole):,} examples and {n:,} captions: give one for "
                                 'each, "" where there is none')  # fmt: skip
        self._ahead = _ahead(whole, found) if self.streamed is None else None
        if self._ahead is not None:
            self._ahead.insist_on(encoder)
        self.encoder = encoder.fitted(found) if self._ahead is None else self._ahead.encoder
        self.captions = self._kept(found, progress) if self.streamed is None else self.streamed
        self.name, self.shape, self.classes, self.in_memory = whole.name, whole.shape, whole.classes, whole.in_memory
        self.follow(whole)
        missing = sum(not text for text in found)
        of = "images" if self.streamed is None else "looked into in the first shard"
        said = f"{missing:,} of {len(found):,} {of} have no caption"
        others = [note for note in whole.notes if note != said]  # images have the same note
        self.notes = [*others, *([f"{said}: they are learned without text"] if missing else [])]

    def _kept(self, found: Sequence[str], progress: Callable[[str, int], Callable[[], None]] | None) -> list[str]:
        """The caption of each example; unless they were encoded ahead, each different one is encoded and stored."""
        captions = [found[i % len(found)] for i in range(len(self.whole))]
        if self._ahead is None:
            numbers = {text: i for i, text in enumerate(dict.fromkeys(found))}
            self._rows = torch.tensor([numbers[text] for text in captions])
            self._table = _encoded(self.encoder, list(numbers), progress)
        return captions

    def __len__(self) -> int:
        return len(self.whole)

    def examples(self, indices: Sequence[int]) -> tuple[Tensor, Conditions]:
        x, conditions = self.whole.examples(indices)
        return x, conditions | {"text": self._text(indices)}

    def _text(self, indices: Sequence[int]) -> Tensor:
        if self.streamed is not None:
            texts = self.streamed.of([i % len(self.streamed) for i in indices])
            return self.encoder.encoded([tidy(text) for text in texts])
        if self._ahead is not None:
            return self._ahead.rows(np.asarray(indices))
        rows = self._table[self._rows[torch.as_tensor(np.asarray(indices))].numpy()]
        text = torch.from_numpy(np.array(rows))
        return text.long() if text.dtype == torch.int32 else text

    def content(self) -> str | None:
        own = self.whole.content()
        if own is None:
            return None
        texts = self.captions if self.streamed is None else ()
        return hashlib.sha256("\n".join([own, self.encoder.identity(), *texts]).encode()).hexdigest()


def insist_on_captions(examples: Examples, captions: Sequence[str]) -> None:
    """Check that at least one example has a caption.

    Raises:
        FromNoiseError: none has.
    """
    if any(captions):
        return
    if unread := [note for note in examples.notes if note.startswith("captions:")]:
        raise FromNoiseError(f"{examples.name} has no captions that can be read: {unread[0]}")
    raise FromNoiseError(f"{examples.name} has no captions: put NAME.txt beside each image, or a metadata.jsonl "
                         "with file_name and text into the folder (docs/data.md)")  # fmt: skip


def _ahead(whole: Examples, captions: Sequence[str]) -> "KeptText | None":
    """The captions that were encoded ahead of training, if they are the same as these."""
    if whole.words is None or whole.words.is_of(captions):
        return whole.words
    warnings.warn(
        f"{whole.name}: its captions are not those that were encoded ahead, and are encoded now", stacklevel=3
    )
    return None


def encoder_of(source: object) -> TextEncoder | None:
    """The text encoder of examples, or of the data set that they are a part of; None if they have no text."""
    while source is not None and not isinstance(source, Worded):
        source = getattr(source, "whole", None)
    return source.encoder if isinstance(source, Worded) else None


def insist_on_encoder(source: object, own: TextEncoder | None) -> None:
    """Check that the captions are encoded by the model's own text encoder, if it has one.

    Raises:
        FromNoiseError: they are not.
    """
    given = encoder_of(source)
    if own is not None and given is not None and not own.reads_as(given):
        raise FromNoiseError("data: captions are encoded by another encoder than the model's: make the model with "
                             "text=words.encoder, or the data as data.Worded(examples, model.text)")  # fmt: skip


def _encoded(
    encoder: TextEncoder, texts: Sequence[str], progress: Callable[[str, int], Callable[[], None]] | None
) -> np.ndarray:
    """The encoded texts [len(texts), ...]: token numbers in memory, embeddings mapped from a file in the cache."""
    probe = encoder(texts[:1])
    if not probe.is_floating_point():
        return encoder(texts).to(torch.int32).numpy()
    folder = storage.cache("texts") / storage.short_hash((encoder.identity(), *texts))

    def make() -> None:
        advance = progress("encoding the captions", len(texts)) if progress else lambda: None
        with storage.making(folder) as writing:
            shape = (len(texts), *probe.shape[1:])
            array = np.lib.format.open_memmap(writing / "texts.npy", "w+", np.float32, shape)
            for start in range(0, len(texts), _TOGETHER):
                part = encoder(texts[start : start + _TOGETHER])
                array[start : start + len(part)] = part.numpy()
                for _ in part:
                    advance()
            array.flush()

    def opened(place: Path) -> np.ndarray:
        return np.load(place / "texts.npy", mmap_mode="r")

    return storage.kept(folder, make, opened)
