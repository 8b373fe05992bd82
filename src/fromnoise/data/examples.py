"""Training examples: tensors with conditions, from arrays, data sets or loaders.

An example is x, (x, label) or (x, {name: condition}); x is uint8 (0..255) or floating point (images in [-1, 1]).
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fromnoise.data.captions import Streamed
from fromnoise.data.order import Order
from fromnoise.data.values import Conditions, checked, pair
from fromnoise.errors import FromNoiseError
from fromnoise.system import rng

if TYPE_CHECKING:
    from fromnoise.data.kept_text import KeptText

__all__ = ["Batches", "Conditions", "Examples", "Items", "Part", "Tensors", "digest", "examples_of", "spread"]


class Examples(ABC):
    """N numbered examples of one shape.

    Attributes:
        name: name of the data set in messages and reports.
        shape: shape of one x, e.g. (C, H, W).
        classes: names of the classes; empty if there are none or they are unknown.
        notes: lines for the user about how the data set was read.
        captions: a caption for each example, or empty.
        words: the captions encoded ahead of training, or None.
        in_memory: whether `examples` needs no decoding.
    """

    name: str
    shape: tuple[int, ...]
    classes: Sequence[str] = ()
    notes: Sequence[str] = ()
    captions: Sequence[str] = ()
    words: "KeptText | None" = None
    in_memory: bool = False
    followed: "Examples | None" = None
    """See `follow`."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def examples(self, indices: Sequence[int]) -> tuple[Tensor, Conditions]:
        """(x [B, ...], uint8 or float32; the conditions by name, each [B, ...]) of these examples."""

    def content(self) -> str | None:
        """A digest of some of the examples, independent of their location; None if items may differ on every read."""
        return None

    def order(self, seed: int, batch_size: int) -> Order | None:
        """The data set's own order for training; None for that of `Feed`, which shuffles all examples every epoch."""
        return None

    def few(self, most: int) -> Sequence[int]:
        """The numbers of at most `most` examples that represent the data set and are cheap to read."""
        return spread(len(self), most)

    def split(self, share: float, seed: int) -> "tuple[Examples, Examples]":
        """Split off a share of the examples, chosen by the seed: (the rest, the share). See `split_numbers`."""
        rest, held = (Part(self, numbers) for numbers in self.split_numbers(share, seed))
        if self.followed is not None:
            for part, theirs in zip((rest, held), self.followed.split(share, seed), strict=True):
                part.order, part.few = theirs.order, theirs.few
        return rest, held

    def follow(self, whole: "Examples") -> None:
        """Use the order and the split of `whole`: example i of this set is made from its example i."""
        self.followed, self.order, self.few = whole, whole.order, whole.few

    def split_numbers(self, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the examples in both parts of `split`, int64, sorted.

        Raises:
            FromNoiseError: the share leaves one of the parts empty.
        """
        if self.followed is not None:
            return self.followed.split_numbers(share, seed)
        n = len(self)
        held = round(n * share)
        if not 0 < share < 1 or not 0 < held < n:
            raise FromNoiseError(f"validation: a share of {share:g} of {n} examples leaves one part empty; give a "
                                 "share between 0 and 1")  # fmt: skip
        order = rng.permutation(seed, 0, n, rng.Stream.HOLD_OUT)
        return np.sort(order[held:]), np.sort(order[:held])


_LOOKED_AT = 64  # examples that go into a digest


def spread(n: int, most: int) -> list[int]:
    """At most `most` of the numbers 0..n - 1, evenly spaced: data sets are often sorted by class."""
    most = min(n, most)
    return [i * n // most for i in range(most)]


def digest(examples: Examples) -> str:
    """SHA-256 of a few examples and their conditions."""
    x, conditions = examples.examples(examples.few(_LOOKED_AT))
    found = hashlib.sha256()
    for name, value in (("", x), *sorted(conditions.items())):
        found.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()


class Part(Examples):
    """A subset of a data set, given by the numbers of its examples."""

    def __init__(self, whole: Examples, numbers: np.ndarray):
        self.whole, self.numbers = whole, numbers
        self.name, self.shape, self.classes = whole.name, whole.shape, whole.classes
        self.notes, self.in_memory = whole.notes, whole.in_memory
        said = whole.captions
        self.captions = said.some(numbers) if isinstance(said, Streamed) else [said[i] for i in numbers] if said else ()

    def __len__(self) -> int:
        return len(self.numbers)

    def examples(self, indices: Sequence[int]) -> tuple[Tensor, Conditions]:
        return self.whole.examples(self.numbers[np.asarray(indices)].tolist())

    def content(self) -> str | None:
        return self.whole.content()


class Tensors(Examples):
    """Examples held as one tensor x [N, ...], with conditions [N, ...].

    Raises:
        FromNoiseError: x has the wrong type or is not finite, or lengths differ.
    """

    in_memory = True

    def __init__(self, x: Tensor, conditions: Mapping[str, Tensor] | None = None, name: str = "data"):
        if x.dim() < 2 or not len(x):
            raise FromNoiseError(f"{name}: x has shape {tuple(x.shape)}; it must be [N, ...], with at least two axes")
        self.x, self.conditions = checked(x.detach(), name), dict(conditions or {})
        self.name, self.shape = name, tuple(x.shape[1:])
        for key, value in self.conditions.items():
            if len(value) != len(x):
                raise FromNoiseError(f"data: {len(x)} examples, but {len(value)} values of the condition {key!r}")

    def __len__(self) -> int:
        return len(self.x)

    def examples(self, indices: Sequence[int]) -> tuple[Tensor, Conditions]:
        chosen = torch.as_tensor(np.asarray(indices))
        return self.x[chosen], {key: value[chosen] for key, value in self.conditions.items()}

    def content(self) -> str:
        return digest(self)


class Items(Examples):
    """A map-style data set: any object with `len` and numbered items, such as a torch Dataset.

    Raises:
        FromNoiseError: an item is not an example; the first one is checked at once, the others in `examples`.
    """

    def __init__(self, items: Any, name: str):
        self.items, self.name = items, name
        if len(items) == 0:
            raise FromNoiseError("data: no example in it")
        self.shape = tuple(self._item(0)[0].shape)
        self.classes = tuple(map(str, getattr(items, "classes", None) or ()))

    def __len__(self) -> int:
        return len(self.items)

    def examples(self, indices: Sequence[int]) -> tuple[Tensor, Conditions]:
        rows = [self._item(i) for i in indices]
        for i, (x, conditions) in zip(indices, rows, strict=True):
            if tuple(x.shape) != self.shape:
                raise FromNoiseError(f"data[{i}]: has shape {_words(x.shape)}, but data[0] has {_words(self.shape)}")
            if conditions.keys() != rows[0][1].keys():
                raise FromNoiseError(f"data[{i}]: has the conditions {', '.join(conditions) or 'none'}, but others "
                                     f"have {', '.join(rows[0][1]) or 'none'}")  # fmt: skip
        x = checked(torch.stack([x for x, _ in rows]), "data")
        return x, {key: torch.stack([c[key] for _, c in rows]) for key in rows[0][1]}

    def _item(self, i: int) -> tuple[Tensor, Conditions]:
        return pair(self.items[i], f"data[{i}]")


class Batches:
    """An iterable of batches, such as a torch DataLoader; its order is its own, so a resumed run is not exact."""

    def __init__(self, source: Iterable[Any], name: str):
        self.source, self.name = source, name

    def __iter__(self) -> Iterator[tuple[Tensor, Conditions]]:
        """Iterate over the source once."""
        empty = True
        for batch in self.source:
            empty = False
            x, conditions = pair(batch, "a batch of data")
            yield checked(x, "data"), conditions
        if empty:
            raise FromNoiseError("data: no batch in it; an iterator can be read once, so give a "
                                     "DataLoader, or an object whose __iter__ starts anew")  # fmt: skip


def examples_of(data: Any, name: str = "data") -> Examples | Batches:
    """Wrap data of any supported kind.

    Args:
        data: Examples; a tensor or array x [N, ...]; a tuple of x and labels [N], or of x and {name: condition
            [N, ...]}; a map-style data set; or an iterable of batches, such as a DataLoader.
        name: name of the data in messages.

    Raises:
        FromNoiseError: `data` is something else.
    """
    if isinstance(data, Examples | Batches):
        return data
    if isinstance(data, Tensor | np.ndarray) or _is_arrays(data):
        x, conditions = pair(data, name)
        return Tensors(x.cpu(), {key: value.cpu() for key, value in conditions.items()}, name)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str | bytes | Mapping):
        return Items(data, getattr(data, "name", type(data).__name__))
    if isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping):
        return Batches(data, type(data).__name__)
    raise FromNoiseError(f"data: a {type(data).__name__}; give a tensor, a Dataset, a DataLoader, or a folder's name")


def _is_arrays(data: Any) -> bool:
    whole = isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], Tensor | np.ndarray)
    return whole and (isinstance(data[1], Mapping) or np.ndim(data[1]) >= 1)


def _words(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"
