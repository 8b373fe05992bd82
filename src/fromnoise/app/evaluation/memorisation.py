"""Whether a model draws anew or copies: its samples beside the training images that they are closest to."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fromnoise.app.evaluation._reference import Reference
from fromnoise.data.images import Images, to_uint8, to_unit
from fromnoise.errors import FromNoiseError
from fromnoise.metrics import Statistics
from fromnoise.metrics.features.base import Extractor
from fromnoise.metrics.figures import Summary
from fromnoise.metrics.frechet import distance
from fromnoise.metrics.memorisation import RATIO, distances, near_copies, nearest
from fromnoise.recipes.diffusion import Recipe
from fromnoise.system import rng
from fromnoise.system.disk import pictures
from fromnoise.system.progress import Bar

LOOKED_AT = 500
"""Samples whose neighbours are looked for, unless another number is asked for."""
_SHOWN, _BESIDE, _KEPT = 12, 3, 5
_PART = 512


@dataclass(frozen=True)
class Learned:
    """What a model learned from.

    Attributes:
        images: all of the set.
        numbers: of those that it was trained on.
        held_out: of those that it was not; empty where none were held out.
        mirrored: whether it was shown their mirror images, too.
        n: samples whose neighbours are looked for.
        picture: that is drawn of them.
    """

    images: Images
    numbers: np.ndarray
    held_out: np.ndarray
    mirrored: bool
    n: int
    picture: Path | None

    @classmethod
    def of(cls, images: Images, config: Recipe, n: int, picture: Path | None) -> "Learned":
        """As the run's configuration divides the set."""
        numbers, held_out = np.arange(len(images)), np.array([], np.int64)
        if config.data.hold_out:
            numbers, held_out = images.split_numbers(config.data.hold_out, config.seed)
        return cls(images, numbers, held_out, config.data.flip, n, picture)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(numbers, images in [-1, 1]) of those that were learned."""
        with Bar("nearest training images", len(self.numbers)) as bar:
            for start in range(0, len(self.numbers), _PART):
                own = self.numbers[start : start + _PART]
                yield torch.from_numpy(own), self.at(own)
                bar.advance(len(own))

    def at(self, numbers: Tensor | np.ndarray) -> Tensor:
        """Images in [-1, 1], [len(numbers), C, H, W]."""
        return to_unit(self.images.batch(numbers.tolist())[0])

    def beside(self, x: Tensor, numbers: Tensor) -> Tensor:
        """The images of these numbers [N, k], each the way round that is nearer to x [N, ...]: [N, k, ...]."""
        y = self.at(numbers.flatten()).unflatten(0, numbers.shape)
        if not self.mirrored:
            return y
        ways = torch.stack([y, y.flip(-1)])
        which = (ways - x[:, None]).flatten(3).square().sum(3).argmin(0)
        return torch.where(which.view(*which.shape, 1, 1, 1) == 0, ways[0], ways[1])


def memorisation(
    samples: Tensor, summary: Summary, learned: Learned, reference: Reference, extractor: Extractor
) -> dict[str, Any]:
    """Shares of samples that are near-copies, in pixels and in features, and the same of held-out images.

    A near-copy is nearer to a training image than to the next one by a factor of three; see `metrics.near_copies`.

    Args:
        samples: uint8 [N, C, H, W], the first ones.
        summary: of all samples.
        learned: what the model was trained on.
        reference: of all its images; the features of at most 10,000 are kept there, and only among these are
            neighbours in features looked for.
        extractor: of the features.

    Raises:
        FromNoiseError: samples and images have different shapes.
    """
    if tuple(samples.shape[1:]) != tuple(learned.images.shape):
        one, other = ("x".join(map(str, shape)) for shape in (samples.shape[1:], learned.images.shape))
        raise FromNoiseError(f"the samples are {one} and the training images {other}")
    x = to_unit(samples)
    numbers = nearest(x, learned.batches(), _KEPT, learned.mirrored)
    images = learned.beside(x, numbers)
    known = _Features(reference, learned)
    own = summary.kept[: len(x)]
    places = nearest(own, [(torch.arange(len(known.learned)), known.learned)], _KEPT)
    copies = {
        "pixels": near_copies(x, images).double().mean().item(),
        "features": near_copies(own, known.learned[places]).double().mean().item(),
    }
    far = distances(x, images)
    found: dict[str, Any] = {
        "near_copies": copies,
        "n": len(x),
        "training_images": {"pixels": len(learned.numbers), "features": len(known.learned)},
        "rule": f"|x - nearest| < {RATIO:.3f} |x - next that differs|, arXiv 2310.02664",
        "distance": {"median": far[:, 0].median().item(), "least": far[:, 0].min().item()},
    }
    if min(len(known.held_out), len(known.learned)) > 1:
        found["held_out"] = _held_out(summary, learned, known, extractor, len(x))
    if learned.picture is not None:
        share = (far[:, 0] / far.amax(1)).nan_to_num(0)  # of a copy of what is there five times: 0 / 0
        order = share.argsort(stable=True)[:_SHOWN]
        among = learned.beside(x[order], known.numbers[places[order]][:, :_BESIDE])
        pictures.save(_picture(x[order], images[order, :_BESIDE], among), learned.picture)
        found["picture"] = str(learned.picture)
    return found


class _Features:
    """Those that are kept of the reference: of images that were learned, and of those that were not."""

    def __init__(self, reference: Reference, learned: Learned):
        kept = reference.summary.kept
        numbers = torch.from_numpy(rng.permutation(0, 1, len(learned.images))[: len(kept)])  # as `hashing.batches`
        apart = torch.isin(numbers, torch.from_numpy(learned.held_out))
        self.learned, self.held_out, self.numbers = kept[~apart], kept[apart], numbers[~apart]


def _held_out(summary: Summary, learned: Learned, known: _Features, extractor: Extractor, most: int) -> dict[str, Any]:
    """How near images come to the training images that the model never saw, and the distance of the samples to them.

    A distance to few images is too large, by as much for the ones as for as many of the others: they are compared.
    """
    x = learned.at(learned.held_out[:most])
    copies = near_copies(x, learned.beside(x, nearest(x, learned.batches(), _KEPT, learned.mirrored)))
    n = min(len(known.held_out), len(known.learned))
    title = extractor.title("FD")
    return {
        "n": n,
        "near_copies": {"pixels": copies.double().mean().item()},
        title: _frechet(summary, known.held_out[:n]),
        f"{title} of as many training images": _frechet(summary, known.learned[:n]),
    }


def _frechet(summary: Summary, features: Tensor) -> float:
    other = Statistics(features.shape[1])
    other.add(features)
    assert summary.pool is not None
    return distance(summary.pool.mean, summary.pool.covariance, other.mean, other.covariance).item()


def _picture(x: Tensor, near: Tensor, among: Tensor) -> Any:
    """A row a sample: itself, its nearest in pixels, its nearest in features."""
    gap = torch.full_like(x[:, None], -1)
    rows = to_uint8(torch.cat([x[:, None], gap, near, gap, among], 1))
    return pictures.grid(rows.flatten(0, 1), rows.shape[1])
