"""Frozen text encoders: transformers from the Hugging Face hub, at a pinned commit, loaded only from safetensors."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.nn.text.base import TextEncoder
from fromnoise.system.disk import files, pretrained
from fromnoise.system.hardware import choose, exact_float32

TOKENIZER = "tokenizer.json"
_TOGETHER = 64
_SHOWN = 12
_LONGEST = 2**16


@dataclass(frozen=True)
class Pretrained(TextEncoder):
    """Texts -> float32 [N, 1 + L, W]: the vector of the whole text, then those of its tokens, padded with zeros.

    The encoder is loaded when it is first used, and is never trained.

    Args:
        length: L, the largest number of tokens of a text, including the special tokens that mark its ends.
        model: a folder with config.json, tokenizer.json and model.safetensors, or owner/name on the hub.
        commit: commit of the hub's repository.
        sha256: hash of the weights that a model was trained with; other weights are refused.

    Raises:
        FromNoiseError: the length is below 3 or above 65,536; and on first use: a model on the hub has no commit,
            transformers is not installed, the files cannot be loaded, or the weights have another hash.
    """

    length: int = 32
    model: str = ""
    commit: str | None = None
    sha256: str | None = None

    kind: ClassVar[str]
    """Name of the class in the transformers library."""

    def __post_init__(self) -> None:
        if not 3 <= self.length <= _LONGEST:
            raise FromNoiseError(f"length must be from 3 to {_LONGEST:,}, got {self.length}")

    @abstractmethod
    def whole(self, output: Any, mask: Tensor) -> Tensor:
        """The vector of the whole text, [N, W], from the network's output and the mask of existing tokens, [N, T]."""

    @property
    def options(self) -> dict[str, int]:
        with self._explained():
            config = pretrained.options(self.folder)
            return {"width": int(config.get("hidden_size") or config["d_model"]), "length": self.length}

    @cached_property
    def folder(self) -> Path:
        """The folder with the encoder's files, downloaded if necessary."""
        place = files.expanded(self.model)
        if place.is_dir():
            return place
        if self.commit is None or self.model.count("/") != 1:
            raise FromNoiseError(f"{self.model or 'model'}: no such folder; a model on the hub is owner/name with "
                                 "commit=, 40 hexadecimal digits")  # fmt: skip
        return pretrained.fetched(self.model, self.commit, [pretrained.CONFIG, pretrained.WEIGHTS, TOKENIZER])

    def fitted(self, captions: Sequence[str]) -> Self:
        with self._explained():
            found = pretrained.sha256(self.folder / pretrained.WEIGHTS)
        if self.sha256 not in (None, found):
            raise FromNoiseError(self._other(found))
        return replace(self, sha256=found)

    def identity(self) -> str:
        return f"{type(self).__name__} {self.fitted(()).sha256} {self.length}"

    def kept(self, text: str) -> str:
        with self._explained():
            tokens = self._tokenizer.encode(text)
        if len(tokens.ids) <= self.length or not text:
            return text
        marks = sum(tokens.special_tokens_mask)
        ends = [end for (_, end), mark in zip(tokens.offsets, tokens.special_tokens_mask, strict=True) if not mark]
        return text[: ends[self.length - marks - 1]].strip()

    @torch.no_grad()
    @exact_float32()
    def encoded(self, texts: Sequence[str]) -> Tensor:
        with self._explained():
            width = self.options["width"]
            rows = torch.zeros(len(texts), 1 + self.length, width)
            said = [i for i, text in enumerate(texts) if text]
            for start in range(0, len(said), _TOGETHER):
                places = said[start : start + _TOGETHER]
                tokens = [self._tokenizer.encode(self.kept(texts[i])).ids[: self.length] for i in places]
                ids = torch.zeros(len(tokens), max(map(len, tokens)), dtype=torch.long)
                mask = torch.zeros_like(ids)
                for row, own in enumerate(tokens):
                    ids[row, : len(own)], mask[row, : len(own)] = torch.tensor(own), 1
                device = next(self._network.parameters()).device
                output = self._network(input_ids=ids.to(device), attention_mask=mask.to(device))
                of_tokens = output.last_hidden_state * mask.to(device)[:, :, None]
                rows[places, 0] = self.whole(output, mask.to(device)).float().cpu()
                rows[places, 1 : 1 + ids.shape[1]] = of_tokens.float().cpu()
            return rows

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        made = Tokenizer.from_file(str(self.folder / TOKENIZER))
        made.no_truncation()
        made.no_padding()
        return made

    @cached_property
    def _network(self) -> Any:
        found = pretrained.sha256(self.folder / pretrained.WEIGHTS)
        if self.sha256 not in (None, found):
            raise FromNoiseError(self._other(found))
        return pretrained.network(self._class(), self.folder).eval().to(choose("fp32").device)

    def _class(self) -> Any:
        import transformers

        return getattr(transformers, self.kind)

    def _other(self, found: str) -> str:
        return (f"{self.folder}: not the text encoder that this model was trained with: its weights' hash begins with "
                f"{found[:_SHOWN]}, not {str(self.sha256)[:_SHOWN]}")  # fmt: skip

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the errors of transformers, tokenizers and the hub into a FromNoiseError of one line."""
        try:
            yield
        except FromNoiseError:
            raise
        except ImportError as error:
            raise FromNoiseError(f"text encoder {self.model or type(self).__name__} needs transformers ({error}): "
                                 'pip install "fromnoise[text]"') from None  # fmt: skip
        except Exception as error:
            reason = files.one_line(" ".join(str(error).split())[:200])
            raise FromNoiseError(f"text encoder {self.model}: could not be loaded ({type(error).__name__}: {reason}): "
                                 f"name a folder with {pretrained.CONFIG}, {TOKENIZER} and {pretrained.WEIGHTS}, or "
                                 "owner/name and a commit of the hub") from None  # fmt: skip


def mean(output: Any, mask: Tensor) -> Tensor:
    """The mean over a text's tokens of the last hidden states: [N, W]."""
    weights = mask[:, :, None].to(output.last_hidden_state)
    return (output.last_hidden_state * weights).sum(1) / weights.sum(1)
