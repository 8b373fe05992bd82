"""60,000 pieces of clothing, 28x28 gray (Zalando; MIT)."""

from fromnoise.data._torchvision import TorchvisionSet
from fromnoise.registry import register


@register("fashion-mnist")
class FashionMNIST(TorchvisionSet):
    """Both splits of FashionMNIST, through torchvision."""

    kind = "FashionMNIST"
