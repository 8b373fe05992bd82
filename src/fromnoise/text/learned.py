"""Byte-pair tokens of the captions, which a transformer inside the network learns to read: GLIDE's way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.registry import register
from fromnoise.text import _byte_pairs
from fromnoise.text.base import TextEncoder, tidy

_MOST = 2**16


@register("learned")
@dataclass(frozen=True)
class Learned(TextEncoder):
    """Words -> token numbers [N, L], int64, 0 where a text has ended. Small and capital letters are alike.

    The tokens are learned from the captions that a model is trained on, by counting, always the same; the model holds
    them, and reads them with a transformer that is trained with it (Nichol et al. 2021, arXiv 2112.10741; Rombach et
    al. 2022, arXiv 2112.10752).

    Args:
        vocabulary: the most token numbers: none, 256 bytes and the pairs.
        length: L, the most tokens of a text; what is longer is cut after a whole word where there is one.
        merges: pairs of token numbers that are one token, as `fitted` learns them.

    Raises:
        FromNoiseError: a vocabulary that does not hold the bytes, a length below 1, or a merge of tokens that come
            after it.
    """

    vocabulary: int = 512
    length: int = 32
    merges: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not _byte_pairs.BYTES <= self.vocabulary <= _MOST or self.length < 1:
            raise FromNoiseError(f"vocabulary must be from {_byte_pairs.BYTES} to {_MOST} and length at least 1, got "
                                 f"{self.vocabulary} and {self.length}")  # fmt: skip
        if len(self.merges) > self.vocabulary - _byte_pairs.BYTES:
            raise FromNoiseError(f"{len(self.merges)} merges do not fit into a vocabulary of {self.vocabulary}")
        if any(not 1 <= part < _byte_pairs.BYTES + i for i, pair in enumerate(self.merges) for part in pair):
            raise FromNoiseError("merges: each joins two tokens that were there before it")

    @property
    def options(self) -> dict[str, int]:
        return {"vocabulary": self.vocabulary, "length": self.length}

    def fitted(self, captions: Sequence[str]) -> "Learned":
        return replace(self, merges=tuple(_byte_pairs.learn(captions, self.vocabulary - _byte_pairs.BYTES)))

    @cached_property
    def _ranks(self) -> dict[tuple[int, int], int]:
        return {pair: i for i, pair in reversed([*enumerate(self.merges)])}

    def tokens(self, text: str) -> list[list[int]]:
        """Of every word of a text."""
        return [_byte_pairs.spelled(word, self._ranks) for word in _byte_pairs.words(text)]

    def kept(self, text: str) -> str:
        used, found = 0, []
        for word, tokens in zip(text.split(), self.tokens(text), strict=True):
            used += len(tokens)
            if used > self.length:
                break
            found.append(word)
        return tidy(" ".join(found))

    def encoded(self, texts: Sequence[str]) -> Tensor:
        rows = torch.zeros(len(texts), self.length, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            flat = [token for word in self.tokens(self.kept(text) or text) for token in word][: self.length]
            row[: len(flat)] = torch.tensor(flat, dtype=torch.long)
        return rows
