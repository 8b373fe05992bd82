"""What a text encoder is."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

from torch import Tensor

from fromnoise.errors import FromNoiseError


class TextEncoder(ABC):
    """Words -> the condition `text`: token numbers [N, L] or embeddings [N, 1 + L, W]; zeros where there are none.

    Subclasses are frozen dataclasses, one in a file; `length`, L, is the most tokens of a text.
    """

    @property
    @abstractmethod
    def options(self) -> dict[str, int]:
        """What the network's `nn.text.TextInput` must know of it."""

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

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """The condition of these texts; one line of warning for those that were cut, with where the first one was.

        Raises:
            FromNoiseError: something that is no text.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise FromNoiseError(f"texts must be a list of words, got {texts!r:.60}")
        tidied = [tidy(text) for text in texts]
        cut = [(text, kept) for text in dict.fromkeys(tidied) if (kept := self.kept(text)) != text]
        if cut:
            text, kept = cut[0]
            more = f", and {len(cut) - 1} others were cut" if len(cut) > 1 else ""
            length = self.options["length"]
            warnings.warn(f"a text is longer than the {length} tokens of its encoder: {text!r:.80} was cut after "
                          f"{kept[-30:]!r}{more}", stacklevel=2)  # fmt: skip
        return self.encoded(tidied)


def tidy(text: str) -> str:
    """One line, single blanks."""
    return " ".join(text.split())
