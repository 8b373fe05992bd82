"""The summary of a set of images: all that the metrics need, in memory that does not grow with the set."""

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.metrics._splits import Splits
from fromnoise.metrics._statistics import Statistics
from fromnoise.metrics.features.base import Features

KEEP = 10_000


class Summary:
    """Moments of all features, class probabilities by split, and the feature vectors of the first `KEEP` images.

    Images are numbered, so batches may come in any order and from several processes.

    Args:
        n: total number of images, which determines the splits of the inception score.
    """

    def __init__(self, n: int):
        self.n = n
        self.pool: Statistics | None = None
        self.spatial: Statistics | None = None
        self.splits: Splits | None = None
        self.right = self.labelled = 0
        self._kept: list[tuple[int, Tensor]] = []

    def add(self, first: int, features: Features, labels: Tensor | None = None) -> None:
        """Add the features of the images `first`, `first` + 1, ..., and their requested classes if known.

        Raises:
            FromNoiseError: a feature is not finite; the message has the number of the image.
        """
        bad = ~features.pool.isfinite().all(1)
        if bool(bad.any()):
            raise FromNoiseError(f"image {first + int(bad.nonzero()[0])}: its features are not finite")
        self.pool = _added(self.pool, features.pool)
        if features.spatial is not None:
            self.spatial = _added(self.spatial, features.spatial)
        if features.probabilities is not None:
            self.splits = self.splits or Splits(self.n, features.probabilities.shape[1])
            self.splits.add(first, features.probabilities)
            if labels is not None:
                self.labelled += len(labels)
                self.right += int((features.probabilities.argmax(1) == labels).sum())
        if first < KEEP:
            self._kept.append((first, features.pool[: KEEP - first].float()))

    def merge(self, other: "Summary") -> None:
        """Add the summary that another process made of other images of the same set."""
        self.pool, self.spatial = _merged(self.pool, other.pool), _merged(self.spatial, other.spatial)
        if self.splits is not None and other.splits is not None:
            self.splits.merge(other.splits)
        else:
            self.splits = self.splits or other.splits
        self.right, self.labelled = self.right + other.right, self.labelled + other.labelled
        self._kept += other._kept

    @property
    def kept(self) -> Tensor:
        """The feature vectors of the first images, in order, [min(n, KEEP), D]."""
        return torch.cat([x for _, x in sorted(self._kept, key=lambda pair: pair[0])])

    @property
    def count(self) -> int:
        """Number of images added so far."""
        return self.pool.n if self.pool else 0

    def tensors(self) -> dict[str, Tensor]:
        """The whole summary as tensors, for a file."""
        found = {"n": torch.tensor(self.n), "first": torch.tensor([first for first, _ in self._kept])}
        found["labels"] = torch.tensor([self.right, self.labelled])
        found["lengths"] = torch.tensor([len(x) for _, x in self._kept])
        if self._kept:
            found["kept"] = torch.cat([x for _, x in self._kept])
        for name, part in (("pool", self.pool), ("spatial", self.spatial)):
            if part is not None:
                found |= {f"{name}.n": torch.tensor(part.n), f"{name}.mean": part.mean, f"{name}.scatter": part.scatter}
        if self.splits is not None:
            found |= {f"splits.{k}": v for k, v in self.splits.tensors().items()}
        return found

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> "Summary":
        """The summary from the tensors that `tensors` returned."""
        made = cls(int(tensors["n"]))
        parts = tensors["kept"].split(tensors["lengths"].tolist()) if "kept" in tensors else ()
        if "labels" in tensors:
            made.right, made.labelled = tensors["labels"].tolist()
        made._kept = list(zip(tensors["first"].tolist(), parts, strict=True))
        for name in ("pool", "spatial"):
            if f"{name}.n" in tensors:
                part = Statistics(len(tensors[f"{name}.mean"]))
                part.n, part.mean = int(tensors[f"{name}.n"]), tensors[f"{name}.mean"]
                part.scatter = tensors[f"{name}.scatter"]
                setattr(made, name, part)
        own = {k.removeprefix("splits."): v for k, v in tensors.items() if k.startswith("splits.")}
        if own:
            made.splits = Splits(made.n, own["total"].shape[1])
            made.splits.load(own)
        return made


def _added(so_far: Statistics | None, x: Tensor) -> Statistics:
    found = so_far or Statistics(x.shape[1])
    found.add(x)
    return found


def _merged(one: Statistics | None, other: Statistics | None) -> Statistics | None:
    if one is None or other is None:
        return one or other
    one.merge(other)
    return one
