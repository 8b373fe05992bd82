"""The encoder of T5, as Imagen uses it."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fromnoise.nn.text._pretrained import Pretrained, mean
from fromnoise.registry import register


@register("t5")
@dataclass(frozen=True)
class T5(Pretrained):
    """Texts -> float32 [N, 1 + L, W]: the mean of the token states, then every token's state.

    Source: Raffel et al. 2020 (arXiv 1910.10683); the mean pooling is that of Saharia et al. 2022 (Imagen, arXiv
    2205.11487).

    Args:
        model: a folder, or owner/name on the hub together with `commit`: google-t5/t5-small, google/t5-v1_1-xxl, ...
        length, commit, sha256: see `Pretrained`.
    """

    kind: ClassVar[str] = "T5EncoderModel"

    def whole(self, output: Any, mask: Tensor) -> Tensor:
        return mean(output, mask)
