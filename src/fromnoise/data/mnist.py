"""MNIST: 60,000 handwritten digits, 28x28 gray (LeCun, Cortes, Burges; CC BY-SA 3.0)."""

from fromnoise.data._torchvision import IdxSet
from fromnoise.registry import register


@register("mnist")
class MNIST(IdxSet):
    """The training and test split of MNIST, through torchvision."""

    kind, folder = "MNIST", "MNIST"
