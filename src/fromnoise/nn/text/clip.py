"""CLIP's text tower, as Stable Diffusion uses it."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fromnoise.nn.text._pretrained import Pretrained
from fromnoise.registry import register


@register("clip")
@dataclass(frozen=True)
class CLIPText(Pretrained):
    """Texts -> float32 [N, 1 + L, W]: the state of the end token for the whole text, then the state of every token.

    The default is the text tower of ViT-L/14, with W = 768 and at most 77 tokens. Source: Radford et al. 2021 (arXiv
    2103.00020).

    Args:
        length, model, commit, sha256: see `Pretrained`.
    """

    length: int = 77
    model: str = "openai/clip-vit-large-patch14"
    commit: str | None = "32bd64288804d66eefd0ccbe215aa642df71cc41"

    kind: ClassVar[str] = "CLIPTextModel"

    def whole(self, output: Any, mask: Tensor) -> Tensor:
        return output.pooler_output
