"""60,000 pieces of clothing, 28x28 gray (Zalando; MIT)."""

from fromnoise.data._torchvision import IdxSet
from fromnoise.registry import register


@register("fashion-mnist")
class FashionMNIST(IdxSet):
    """Both splits of FashionMNIST, through torchvision."""

    kind, folder = "FashionMNIST", "FashionMNIST"
