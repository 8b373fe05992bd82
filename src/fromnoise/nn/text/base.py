"""What a text encoder is."""

import dataclasses
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor

from fromnoise.errors import FromNoiseError


class TextEncoder(ABC):
    """Words -> the condition `text`: token numbers [N, L] or embeddings [N, 1 + L, W]; zeros where there are none.

    Subclasses are frozen dataclasses, one in a file; `length`, L, is the most tokens of a text.
    """

    @property
    @abstractmethod
    def options(self) -> dict[str, int]:
        """What the network's `nn.words.TextInput` must know of it."""

    @abstractmethod
    def encoded(self, texts: Sequence[str]) -> Tensor:
        """Of tidy texts, "" among them; what is beyond the length is cut."""

    @abstractmethod
    def kept(self, text: str) -> str:
        """The part of a tidy text that is within the length."""

    def fitted(self, captions: Sequence[str]) -> Self:
        """The encoder that a model is trained with, made ready by the captions where it learns from them."""
        return self

    def identity(self) -> str:
        """What decides the encoding, for caches."""
        return repr(self)

    def reads_as(self, other: "TextEncoder | None") -> bool:
        """Whether both make the same of every text, wherever their files lie."""
        return other is not None and (self == other or self.identity() == other.identity())

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """The condition of these texts; one line of warning for those that were cut, with where the first one was.

        Raises:
            FromNoiseError: something that is no text.
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
        """The options alone: a copy in another process loads by itself what it needs."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # pyrefly: ignore


def insist_on_texts(name: str, texts: Any) -> Sequence[str]:
    """The same, a list or another sequence of words.

    Raises:
        FromNoiseError: it is none, or something in it is no text; with the first that is not.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
        raise FromNoiseError(f"{name} must be a list of words, got {texts!r:.60}")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise FromNoiseError(f'{name} must be a list of words, "" where there are none; [{i}] is {text!r:.60}')
    return texts


def tidy(text: str) -> str:
    """One line, single blanks; a half of a character, which JSON and broken bytes can hold, is a question mark."""
    return " ".join(text.encode(errors="replace").decode().split())
