"""The conditioning that networks share: the time, and optionally a label, a text, an image embedding and more."""

import inspect
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.nn.layers import Sinusoidal
from fromnoise.nn.spatial import check_size
from fromnoise.nn.words import Words, text_input

TRANSFORM = 9
"""How many numbers describe the augmentation of an image; see `data.Augment`."""

NUMBERS = ("guidance", "span")
"""Scalar conditions that a network can take: a guidance scale, and the length of a step."""


class Number(nn.Module):
    """B silu(a c + b) for a scalar c: [N] -> [N, width]; a fresh layer's output is zero.

    It is smooth in c, because mean flow trains on the derivative with respect to c: for fast sinusoids that derivative
    would be mostly noise.
    """

    def __init__(self, width: int):
        super().__init__()
        self.inner = nn.Linear(1, width)
        self.weight = nn.Parameter(torch.zeros(width, width))  # a layer would be initialised by the network

    def forward(self, number: Tensor) -> Tensor:
        return F.linear(F.silu(self.inner(number[:, None])), self.weight)


class Conditioned(nn.Module):
    """emb = silu(W_2 silu(W_1 (sinusoidal(time) + A augment)) + E[label] + W_4 silu(W_3 sinusoidal(strength))
    + `Number` of each scalar condition + C text + D z), z an image embedding: [N, width].

    The base class of networks that are conditioned on the time; every term but the time's is optional.

    Args:
        factor: every side of a state must be a multiple of it.
        time_features: width of the sinusoidal embedding.
        time_endpoint: the `endpoint` of `Sinusoidal`.
        width: width of emb.
        classes: number of classes, with labels 0..classes - 1; None for an unconditional network.
        null_label: whether one more label, number `classes`, stands for "no class". The attribute of the same name
            holds its number, or None.
        strength: whether the network is also conditioned on a noise strength, [N] in [0, 1000], embedded like the time.
        dims: number of axes of a state besides its channels.
        augment: whether the network can be conditioned on the augmentation of an image, nine numbers [N, 9]; zeros
            mean no augmentation.
        time_scale: factor on the time before its sinusoids. Schedules use times in [0, 1000), so a network that counts
            4000 steps needs 4.
        label_features: whether E[label] is added to the sinusoids, before the layers, instead of after them.
        numbers: the scalar conditions that the network can take, any of NUMBERS, [N] each. Their layers start at zero,
            and a call may leave them out.
        text: for a text-conditional network, the options of `TextInput`.
        image_embedding: size of the image embedding z that the network can be conditioned on, [N, size]; zeros mean
            none (Ramesh et al. 2022, arXiv 2204.06125, section 2.1).

    Raises:
        FromNoiseError: `numbers` has an unknown name, or an option of `text` or `image_embedding` is invalid.
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
        dims: int = 2,
        augment: bool = False,
        time_scale: float = 1.0,
        label_features: bool = False,
        numbers: Sequence[str] = (),
        text: Mapping[str, int] | None = None,
        image_embedding: int | None = None,
    ):
        super().__init__()
        self.label_features, self.time_scale = label_features, time_scale
        self.factor, self.dims = factor, dims
        self.sinusoidal = Sinusoidal(time_features, time_endpoint)
        self.time = nn.Sequential(nn.Linear(time_features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.classes, self.null_label = classes, classes if null_label else None
        self.label = nn.Embedding(classes + null_label, time_features if label_features else width) if classes else None
        self.strength = None
        if strength:
            self.strength = nn.Sequential(nn.Linear(time_features, width), nn.SiLU(), nn.Linear(width, width))
        self.augment = nn.Linear(TRANSFORM, time_features, bias=False) if augment else None
        if strangers := set(numbers) - set(NUMBERS):
            raise FromNoiseError(f"numbers: unknown {', '.join(sorted(strangers))}; choose from {', '.join(NUMBERS)}")
        self.numbers = nn.ModuleDict({name: Number(width) for name in numbers})
        self.text = text_input(text) if text is not None else None
        self.whole_text = nn.Linear(self.text.width, width) if self.text else None
        if image_embedding is not None and (type(image_embedding) is not int or image_embedding < 1):
            raise FromNoiseError(f"image_embedding must be a whole number of at least 1, got {image_embedding!r:.60}")
        self.image_embedding = nn.Linear(image_embedding, width) if image_embedding else None

    @property
    def null_cond(self) -> dict[str, Tensor]:
        """The values that stand for "no condition", without the null label and without a batch axis."""
        found = {"text": self.text.none} if self.text else {}
        if self.image_embedding is not None:
            found["image_embedding"] = torch.zeros(self.image_embedding.in_features)
        return found

    def words(self, text: Tensor | None, n: int) -> Words | None:
        """The embedded text of n examples; `text=None` means an empty text for each of them.

        Returns None for a network that takes no text.

        Raises:
            FromNoiseError: the network takes no text, or `text` has the wrong shape or type.
        """
        if self.text is None:
            if text is not None:
                raise FromNoiseError("this network takes no text: leave it out, or make it with text={...}")
            return None
        none = self.text.none.to(self.text.whole.device)
        return self.text(none.expand(n, *none.shape) if text is None else text)

    def check_size(self, size: tuple[int, ...] | torch.Size) -> None:
        """Raise FromNoiseError, naming a size that fits, unless there are `dims` sides that `factor` divides."""
        check_size(size, self.factor, self.dims)

    def embedding(
        self,
        time: Tensor,
        label: Tensor | None,
        dtype: torch.dtype,
        strength: Tensor | None = None,
        augment: Tensor | None = None,
        numbers: Mapping[str, Tensor | None] | None = None,
        words: Words | None = None,
        image_embedding: Tensor | None = None,
    ) -> Tensor:
        """emb, [N, width]. A missing label means the null label, a missing augment or image embedding means zeros.

        Args:
            dtype: type of the weights; the sinusoids are computed in float32.
            words: the output of `words`.

        Raises:
            FromNoiseError: a label or a strength is missing, a condition is given that the network does not take, or
                the image embedding has the wrong size.
        """
        features = self.sinusoidal(time if self.time_scale == 1 else time * self.time_scale).to(dtype)
        if label is None and self.null_label is not None:
            label = torch.full((features.shape[0],), self.null_label, device=features.device)
        for what, layer, given in (("label", self.label, label), ("strength", self.strength, strength)):
            if (layer is None) != (given is None):
                raise FromNoiseError(f"this network needs a {what}" if layer else f"this network takes no {what}")
        embedded = None if self.label is None or label is None else self.label(label)
        if embedded is not None and self.label_features:
            features = features + embedded
        if augment is not None:
            if self.augment is None:
                raise FromNoiseError("this network takes no augment: leave it out, or make the network with "
                                     "augment=True")  # fmt: skip
            features = features + self.augment(augment.to(dtype))
        h = self.time[:3](features)
        if embedded is not None and not self.label_features:
            h = h + embedded
        if self.strength is not None and strength is not None:
            h = h + self.strength(self.sinusoidal(strength).to(dtype))
        for name, number in (numbers or {}).items():
            if number is None:
                continue
            if name not in self.numbers:
                raise FromNoiseError(f"this network takes no {name}: leave it out, or make it with numbers=[{name!r}]")
            h = h + self.numbers[name](number.to(dtype))
        if self.whole_text is not None and words is not None:
            h = h + self.whole_text(words.rows[:, 0])
        if self.image_embedding is not None or image_embedding is not None:
            h = h + self._of_image(image_embedding, features)
        return F.silu(h)

    def _of_image(self, embedding: Tensor | None, like: Tensor) -> Tensor:
        if self.image_embedding is None:
            raise FromNoiseError("this network takes no image_embedding: leave it out, or make it with "
                                 "image_embedding=SIZE")  # fmt: skip
        size = self.image_embedding.in_features
        embedding = like.new_zeros(1, size) if embedding is None else embedding
        if embedding.dim() != 2 or embedding.shape[1] != size:
            raise FromNoiseError(f"image_embedding must be [N, {size}], got {list(embedding.shape)}")
        return self.image_embedding(embedding.to(like.dtype))


def numbers_of(network: nn.Module) -> tuple[str, ...]:
    """The scalar conditions, of NUMBERS, that a network takes: for a custom network, the arguments of its `forward`."""
    if isinstance(network, Conditioned):
        return tuple(network.numbers)
    return tuple(name for name in NUMBERS if name in inspect.signature(network.forward).parameters)


def learn_times(network: Conditioned, other: Conditioned, times: Tensor, steps: int = 250) -> None:
    """Train the time layers of `network` to match those of `other`, whose sinusoids are faster or slower.

    Args:
        network: the network whose time layers are trained.
        other: the network to match.
        times: all times that occur, [N]; about 200 of them are used.
        steps: optimiser steps.
    """
    chosen = times[:: max(1, len(times) // 200)]
    with torch.no_grad():
        wanted = other.time[:3](other.sinusoidal(chosen * other.time_scale).to(chosen))
    features = network.sinusoidal(chosen * network.time_scale).to(chosen)
    optimizer = torch.optim.Adam(network.time.parameters(), 3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        (network.time[:3](features) - wanted).square().mean().backward()
        optimizer.step()
    optimizer.zero_grad()  # or the first training step would add these gradients
