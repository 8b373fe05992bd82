"""The class token of DINOv2: FD-dinov2, which agrees with human judgement better than FID."""

from typing import Any, ClassVar

from torch import Tensor

from fromnoise.metrics.features._transformers import HubTransformer
from fromnoise.registry import register


@register("dinov2")
class DinoV2(HubTransformer):
    """1,024 features: the class token of DINOv2 ViT-L/14 at 224x224 (Stein et al. 2023)."""

    suffix: ClassVar[str] = "-dinov2"
    repository: ClassVar[str] = "facebook/dinov2-large"
    commit: ClassVar[str] = "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c"
    kind: ClassVar[str] = "Dinov2Model"
    mean: ClassVar[tuple[float, float, float]] = (0.485, 0.456, 0.406)
    std: ClassVar[tuple[float, float, float]] = (0.229, 0.224, 0.225)

    def vector(self, output: Any) -> Tensor:
        return output.last_hidden_state[:, 0]
