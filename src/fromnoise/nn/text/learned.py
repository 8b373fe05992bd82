"""Byte-pair tokens learned from the captions, read by a transformer inside the network, as in GLIDE."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.nn.text import _byte_pairs
from fromnoise.nn.text.base import TextEncoder, insist_on_texts, tidy
from fromnoise.registry import register
from fromnoise.system import checks

_MOST = 2**16
_KEPT = 2**18


@register("learned")
@dataclass(frozen=True)
class Learned(TextEncoder):
    """Texts -> token numbers [N, L], int64, padded with 0; upper and lower case are treated alike.

    The tokens are learned from the training captions by counting pairs, which is deterministic. The model stores them,
    and reads them with a transformer that is trained along with it (Nichol et al. 2021, arXiv 2112.10741; Rombach et
    al. 2022, arXiv 2112.10752).

    Args:
        vocabulary: the largest number of tokens: token 0 for none, 256 bytes, and the merges.
        length: L, the largest number of tokens of a text; a longer text is cut after a whole word if possible.
        merges: pairs of token numbers that form one token. `fitted` learns them if there are none yet, and otherwise
            keeps them, so that tokens keep their meaning when a model is trained further.

    Raises:
        FromNoiseError: the vocabulary is below 257 or above 65,536, the length is below 1 or above 65,536, or the
            merges are not pairs, too many, or use tokens that come after them.
    """

    vocabulary: int = 512
    length: int = 32
    merges: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for name in ("vocabulary", "length"):
            checks.whole(name, getattr(self, name))
        if not _byte_pairs.BYTES <= self.vocabulary <= _MOST or not 1 <= self.length <= _MOST:
            raise FromNoiseError(f"vocabulary must be from {_byte_pairs.BYTES} to {_MOST} and length from 1 to "
                                 f"{_MOST}, got {self.vocabulary} and {self.length}")  # fmt: skip
        if not isinstance(self.merges, tuple) or not all(map(_is_pair, self.merges)):
            raise FromNoiseError("merges must be a tuple of pairs of token numbers, as `fitted` learns them, got "
                                 f"{self.merges!r:.60}")  # fmt: skip
        if len(self.merges) > self.vocabulary - _byte_pairs.BYTES:
            raise FromNoiseError(f"{len(self.merges)} merges do not fit into a vocabulary of {self.vocabulary}")
        if any(not 1 <= part < _byte_pairs.BYTES + i for i, pair in enumerate(self.merges) for part in pair):
            raise FromNoiseError("merges: each must join two tokens that come before it")

    @property
    def options(self) -> dict[str, int]:
        return {"vocabulary": self.vocabulary, "length": self.length}

    def fitted(self, captions: Sequence[str]) -> "Learned":
        insist_on_texts("captions", captions)
        if self.merges:
            return self
        return replace(self, merges=tuple(_byte_pairs.learn(captions, self.vocabulary - _byte_pairs.BYTES)))

    @cached_property
    def _ranks(self) -> dict[tuple[int, int], int]:
        return {pair: i for i, pair in reversed([*enumerate(self.merges)])}

    @cached_property
    def _spelled(self) -> dict[str, list[int]]:
        """A cache of the tokens of words: captions repeat few different words."""
        return {}

    def tokens(self, text: str) -> list[list[int]]:
        """The tokens of every word of a text."""
        return [self._word(word) for word in _byte_pairs.words(text)]

    def _word(self, word: str) -> list[int]:
        if (known := self._spelled.get(word)) is not None:
            return known
        found = _byte_pairs.spelled(word, self._ranks)
        if len(self._spelled) < _KEPT:
            self._spelled[word] = found
        return found

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


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(type(number) is int for number in value)
