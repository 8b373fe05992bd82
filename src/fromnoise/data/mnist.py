"""60,000 handwritten digits, 28x28 gray (LeCun, Cortes, Burges; CC BY-SA 3.0)."""

from fromnoise.data._torchvision import TorchvisionSet
from fromnoise.registry import register


@register("mnist")
class MNIST(TorchvisionSet):
    """Both splits of MNIST, through torchvision."""

    kind = "MNIST"
