"""Fashion-MNIST: 60,000 articles of clothing, 28x28 gray (Zalando; MIT)."""

from fromnoise.data._torchvision import IdxSet
from fromnoise.registry import register


@register("fashion-mnist")
class FashionMNIST(IdxSet):
    """The training and test split of Fashion-MNIST, through torchvision."""

    kind, folder = "FashionMNIST", "FashionMNIST"
