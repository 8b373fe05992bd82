"""What networks have in common: they are told the time and perhaps a label, and images must fit them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.nn._layers import sinusoidal


class Told(nn.Module):
    """emb = silu(W_2 silu(W_1 sinusoidal(time)) + E[label]): [N], [N] -> [N, width].

    Args:
        factor: every side of an image must be a multiple of it.
        time_features: width of the sinusoidal embedding.
        time_endpoint: as that of `sinusoidal`.
        width: of the vector.
        classes: number of labels, 0..classes - 1, or None.
        null_label: whether there is one label more, number `classes`, that stands for none. The attribute of that name
            is its number, or None.
    """

    def __init__(
        self,
        factor: int,
        time_features: int,
        time_endpoint: bool,
        width: int,
        classes: int | None,
        null_label: bool,
    ):
        super().__init__()
        self.factor = factor
        self.time_features, self.time_endpoint = time_features, time_endpoint
        self.time = nn.Sequential(nn.Linear(time_features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.classes, self.null_label = classes, classes if null_label else None
        self.label = nn.Embedding(classes + null_label, width) if classes else None

    def check_size(self, size: tuple[int, ...] | torch.Size) -> None:
        """Every side must be a multiple of `factor`; else one line that names the nearest size that is."""
        if any(side % self.factor or side < self.factor for side in size):
            given = "x".join(map(str, size))
            fits = "x".join(str(max(self.factor, round(side / self.factor) * self.factor)) for side in size)
            raise FromNoiseError(f"images of {given} do not fit: the network needs sides divisible by {self.factor}; "
                                 f"{fits} fits")  # fmt: skip

    def told(self, time: Tensor, label: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The vector; a call without a label means the null label.

        Args:
            dtype: of the weights; the sinusoids are computed in float32.

        Raises:
            FromNoiseError: a label is missing, or the network knows none.
        """
        features = sinusoidal(time, self.time_features, self.time_endpoint).to(dtype)
        if label is None and self.null_label is not None:
            label = torch.full((len(features),), self.null_label, device=features.device)
        if (self.label is None) != (label is None):
            raise FromNoiseError("this network needs a label" if label is None else "this network knows no labels")
        if self.label is None or label is None:
            return self.time(features)
        return F.silu(self.time[:3](features) + self.label(label))
