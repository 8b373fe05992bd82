"""What networks have in common: they are told the time and perhaps a label, and states must fit them."""

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
"""Numbers that say how an image was transformed."""

NUMBERS = ("guidance", "span")
"""Conditions of one number each that a network can be made to take: a guidance scale, and the length of a step."""


class Number(nn.Module):
    """B silu(a c + b): [N] -> [N, width], zero in a fresh layer.

    Smooth in c: a mean flow is taught by the derivative, and that of fast sinusoids is all noise.
    """

    def __init__(self, width: int):
        super().__init__()
        self.inner = nn.Linear(1, width)
        self.weight = nn.Parameter(torch.zeros(width, width))  # no layer, which a network would start anew

    def forward(self, number: Tensor) -> Tensor:
        return F.linear(F.silu(self.inner(number[:, None])), self.weight)


class Conditioned(nn.Module):
    """emb = silu(W_2 silu(W_1 (sinusoidal(time) + A augment)) + E[label] + the same of a strength + `Number` of each
    number + C text + D z): [N, width], z of an image.

    Args:
        factor: every side of a state must be a multiple of it.
        time_features: width of the sinusoidal embedding.
        time_endpoint: the `endpoint` of `Sinusoidal`.
        width: of the vector.
        classes: number of labels, 0..classes - 1, or None.
        null_label: whether there is one label more, number `classes`, that stands for none. The attribute of that name
            is its number, or None.
        strength: whether it is told a second number, [N] in [0, 1000], by layers like the time's.
        dims: sides of a state: axes besides its channels.
        augment: whether it can be told how an image was transformed, in nine numbers [N, 9], zeros for not at all.
        time_scale: factor on the time before its sinusoids; 4 for a network that counts 4000 steps, since schedules
            here give times in [0, 1000).
        label_features: whether E[label] is added to the sinusoids, before the layers, and not after them.
        numbers: those of NUMBERS that it can be given, [N] each; a fresh layer adds nothing, nor does a call without.
        text: of a text-conditional network, the options of `TextInput`.
        image_embedding: size of the embedding z of an image that it can be given, [N, size]; zeros mean none
            (Ramesh et al. 2022, arXiv 2204.06125, section 2.1).

    Raises:
        FromNoiseError: a number of another name, or an option of the text.
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
            raise FromNoiseError(f"numbers: {', '.join(sorted(strangers))}; there are {', '.join(NUMBERS)}")
        self.numbers = nn.ModuleDict({name: Number(width) for name in numbers})
        self.text = text_input(text) if text is not None else None
        self.whole_text = nn.Linear(self.text.width, width) if self.text else None
        if image_embedding is not None and (type(image_embedding) is not int or image_embedding < 1):
            raise FromNoiseError(f"image_embedding must be a whole number of at least 1, got {image_embedding!r:.60}")
        self.image_embedding = nn.Linear(image_embedding, width) if image_embedding else None

    @property
    def null_cond(self) -> dict[str, Tensor]:
        """What stands for no condition, but for the null label."""
        found = {"text": self.text.none} if self.text else {}
        if self.image_embedding is not None:
            found["image_embedding"] = torch.zeros(self.image_embedding.in_features)
        return found

    def words(self, text: Tensor | None, n: int) -> Words | None:
        """The condition `text` of n examples, read; no text where a call has none.

        Raises:
            FromNoiseError: the network reads none, or it is no such condition.
        """
        if self.text is None:
            if text is not None:
                raise FromNoiseError("this network takes no text: leave it out, or make it with text={...}")
            return None
        none = self.text.none.to(self.text.whole.device)
        return self.text(none.expand(n, *none.shape) if text is None else text)

    def check_size(self, size: tuple[int, ...] | torch.Size) -> None:
        """Raises FromNoiseError, with what would fit, where there are not `dims` sides that `factor` divides."""
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
        """The vector; a call without a label means the null label, one without augment that nothing was transformed,
        one without an image's embedding means none, which is zeros.

        Args:
            dtype: of the weights; the sinusoids are computed in float32.
            words: of `words`.

        Raises:
            FromNoiseError: a label or a strength is missing, or the network knows none, or no augment, number or
                embedding; or an embedding of another size.
        """
        features = self.sinusoidal(time if self.time_scale == 1 else time * self.time_scale).to(dtype)
        if label is None and self.null_label is not None:
            label = torch.full((features.shape[0],), self.null_label, device=features.device)
        for what, layer, given in (("label", self.label, label), ("strength", self.strength, strength)):
            if (layer is None) != (given is None):
                raise FromNoiseError(f"this network needs a {what}" if layer else f"this network knows no {what}s")
        embedded = None if self.label is None or label is None else self.label(label)
        if embedded is not None and self.label_features:
            features = features + embedded
        if augment is not None:
            if self.augment is None:
                raise FromNoiseError("this network is not told how images were transformed: leave augment out, or make "
                                     "it with augment=True")  # fmt: skip
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
    """Those of NUMBERS that a network takes: what one of ours was made for, or the arguments of your own `forward`."""
    if isinstance(network, Conditioned):
        return tuple(network.numbers)
    return tuple(name for name in NUMBERS if name in inspect.signature(network.forward).parameters)


def learn_times(network: Conditioned, other: Conditioned, times: Tensor, steps: int = 250) -> None:
    """Train the layers of the time to give what another network's give, whose sinusoids are faster or slower.

    Args:
        times: all that a network is given, [N].
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
    optimizer.zero_grad()  # or the first step of training would add what is left
