"""What networks have in common: they are told the time and perhaps a label, and images must fit them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.nn.layers import Sinusoidal, check_size


class Conditioned(nn.Module):
    """emb = silu(W_2 silu(W_1 sinusoidal(time)) + E[label] + the same of a strength): [N], [N] -> [N, width].

    Args:
        factor: every side of an image must be a multiple of it.
        time_features: width of the sinusoidal embedding.
        time_endpoint: the `endpoint` of `Sinusoidal`.
        width: of the vector.
        classes: number of labels, 0..classes - 1, or None.
        null_label: whether there is one label more, number `classes`, that stands for none. The attribute of that name
            is its number, or None.
        strength: whether it is told a second number, [N] in [0, 1000], by layers like the time's.
    """

    def __init__(
        self,
        factor: int,
        time_features: int,
        time_endpoint: bool,
        width: int,
        classes: int | None,
        null_label: bool,
        strength: bool = False,
    ):
        super().__init__()
        self.factor = factor
        self.sinusoidal = Sinusoidal(time_features, time_endpoint)
        self.time = nn.Sequential(nn.Linear(time_features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.classes, self.null_label = classes, classes if null_label else None
        self.label = nn.Embedding(classes + null_label, width) if classes else None
        self.strength = None
        if strength:
            self.strength = nn.Sequential(nn.Linear(time_features, width), nn.SiLU(), nn.Linear(width, width))

    def check_size(self, size: tuple[int, ...] | torch.Size) -> None:
        """Raises FromNoiseError, with a size that fits, where a side is not a multiple of `factor`."""
        check_size(size, self.factor)

    def embedding(
        self, time: Tensor, label: Tensor | None, dtype: torch.dtype, strength: Tensor | None = None
    ) -> Tensor:
        """The vector; a call without a label means the null label.

        Args:
            dtype: of the weights; the sinusoids are computed in float32.

        Raises:
            FromNoiseError: a label or a strength is missing, or the network knows none.
        """
        h = self.time[:3](self.sinusoidal(time).to(dtype))
        if label is None and self.null_label is not None:
            label = torch.full((len(h),), self.null_label, device=h.device)
        for what, layer, given in (("label", self.label, label), ("strength", self.strength, strength)):
            if (layer is None) != (given is None):
                raise FromNoiseError(f"this network needs a {what}" if layer else f"this network knows no {what}s")
        if self.label is not None and label is not None:
            h = h + self.label(label)
        if self.strength is not None and strength is not None:
            h = h + self.strength(self.sinusoidal(strength).to(dtype))
        return F.silu(h)
