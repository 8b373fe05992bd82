"""The base class of text encoders."""

import dataclasses
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor

from fromnoise.errors import FromNoiseError


class TextEncoder(ABC):
    """Texts -> the condition `text`: token numbers [N, L] or embeddings [N, 1 + L, W], padded with zeros.

    Subclasses are frozen dataclasses, one per file, with a field `length`: L, the largest number of tokens of a text.
    """

    @property
    @abstractmethod
    def options(self) -> dict[str, int]:
        """The options that the network's `nn.words.TextInput` needs for this encoder."""

    @abstractmethod
    def encoded(self, texts: Sequence[str]) -> Tensor:
        """The condition for texts that went through `tidy`; "" means no text, and tokens beyond `length` are cut."""

    @abstractmethod
    def kept(self, text: str) -> str:
        """The part of a text, after `tidy`, that fits into `length` tokens."""

    def fitted(self, captions: Sequence[str]) -> Self:
        """The encoder to train a model with: a learned one first learns its tokens from the captions."""
        return self

    def identity(self) -> str:
        """A string that determines the encoding, used as a key for caches."""
        return repr(self)

    def reads_as(self, other: "TextEncoder | None") -> bool:
        """Whether both encoders encode every text alike, even if their files lie in different folders."""
        return other is not None and (self == other or self.identity() == other.identity())

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Encode texts; warn, in one line, if any of them had to be cut.

        Raises:
            FromNoiseError: `texts` is not a list of strings.
        """
        tidied = [tidy(text) for text in insist_on_texts("texts", texts)]
        cut = [(text, kept) for text in dict.fromkeys(tidied) if (kept := self.kept(text)) != text]
        if cut:
            text, kept = cut[0]
            others = "another was" if len(cut) == 2 else f"{len(cut) - 1} others were"
            more = f", and {others} cut" if len(cut) > 1 else ""
            length = self.options["length"]
            warnings.warn(f"a text is longer than the {length} tokens of its encoder: {text!r:.80} was cut after "
                          f"{kept[-30:]!r}{more}", stacklevel=2)  # fmt: skip
        return self.encoded(tidied)

    def __getstate__(self) -> dict[str, Any]:
        """Only the options: a copy in another process loads its own tokenizer and weights."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # pyrefly: ignore


def insist_on_texts(name: str, texts: Any) -> Sequence[str]:
    """Return `texts` after checking that it is a list, or another sequence, of strings.

    Raises:
        FromNoiseError: it is not; the message shows the first element that is not a string.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
        raise FromNoiseError(f"{name} must be a list of strings, got {texts!r:.60}")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise FromNoiseError(f'{name} must be a list of strings, "" for no text; [{i}] is {text!r:.60}')
    return texts


def tidy(text: str) -> str:
    """The text in one line with single blanks.

    A lone surrogate, which JSON or broken bytes can contain, becomes a question mark.
    """
    return " ".join(text.encode(errors="replace").decode().split())
