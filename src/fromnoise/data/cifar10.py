"""CIFAR-10: 50,000 photographs in ten classes, 32x32 RGB (Krizhevsky)."""

from fromnoise.data._torchvision import TorchvisionSet
from fromnoise.registry import register


@register("cifar10")
class CIFAR10(TorchvisionSet):
    """The training and test split of CIFAR-10, through torchvision."""

    kind, folder = "CIFAR10", "cifar-10-batches-py"
