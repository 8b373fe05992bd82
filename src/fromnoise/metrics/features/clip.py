"""The image embedding of CLIP: FD-clip, and with the kernel of KID a metric similar to CMMD."""

from typing import Any, ClassVar

from torch import Tensor

from fromnoise.metrics.features._transformers import HubTransformer
from fromnoise.registry import register


@register("clip")
class ClipImage(HubTransformer):
    """768 features: the projected embedding of CLIP ViT-L/14 at 224x224."""

    suffix: ClassVar[str] = "-clip"
    repository: ClassVar[str] = "openai/clip-vit-large-patch14"
    commit: ClassVar[str] = "32bd64288804d66eefd0ccbe215aa642df71cc41"
    kind: ClassVar[str] = "CLIPVisionModelWithProjection"
    mean: ClassVar[tuple[float, float, float]] = (0.48145466, 0.4578275, 0.40821073)
    std: ClassVar[tuple[float, float, float]] = (0.26862954, 0.26130258, 0.27577711)

    def vector(self, output: Any) -> Tensor:
        return output.image_embeds
