"""CLIP's text tower, as Stable Diffusion uses it."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fromnoise.nn.text._pretrained import Pretrained
from fromnoise.registry import register


@register("clip")
@dataclass(frozen=True)
class CLIPText(Pretrained):
    """Words -> float32 [N, 1 + L, W]: the end token's state for the whole text, then every token's.

    ViT-L/14's, W = 768 and at most 77 tokens, by default. Source: Radford et al. 2021 (arXiv 2103.00020).

    Args:
        length, model, commit, sha256: as of every frozen encoder; see `Pretrained`.
    """

    length: int = 77
    model: str = "openai/clip-vit-large-patch14"
    commit: str | None = "32bd64288804d66eefd0ccbe215aa642df71cc41"

    kind: ClassVar[str] = "CLIPTextModel"

    def whole(self, output: Any, mask: Tensor) -> Tensor:
        return output.pooler_output
