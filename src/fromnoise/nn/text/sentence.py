"""Any mean-pooled sentence encoder, from a folder or from the Hugging Face hub."""

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.nn.text._pretrained import Pretrained, mean
from fromnoise.registry import register


@register("sentence")
@dataclass(frozen=True)
class Sentence(Pretrained):
    """Texts -> float32 [N, 1 + L, W]: the mean of the token states, scaled to length 1, then every token's state.

    Source: Reimers and Gurevych 2019 (arXiv 1908.10084).

    Args:
        model: a folder, or owner/name on the hub together with `commit`: a BERT, MPNet, RoBERTa or similar encoder.
        length, commit, sha256: see `Pretrained`.
    """

    def whole(self, output: Any, mask: Tensor) -> Tensor:
        return F.normalize(mean(output, mask))

    def _class(self) -> Any:
        from transformers import MODEL_MAPPING, AutoConfig

        config = AutoConfig.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)
        if type(config) not in MODEL_MAPPING:
            raise FromNoiseError(f"{self.folder}: transformers has no model of {type(config).__name__}")
        return MODEL_MAPPING[type(config)]
