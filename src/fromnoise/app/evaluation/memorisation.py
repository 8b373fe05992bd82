"""Whether a model memorises: its samples compared with the training images closest to them."""

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
"""Default number of samples whose neighbours are searched."""
_SHOWN, _BESIDE, _KEPT = 12, 3, 5
_PART = 512


@dataclass(frozen=True)
class Learned:
    """The data that a model was trained on.

    Attributes:
        images: the whole data set.
        numbers: indices of the training images.
        held_out: indices of the held-out images; empty if none were held out.
        mirrored: whether it was also trained on mirror images.
        n: number of samples whose neighbours are searched.
        picture: where to save an image of samples and neighbours; None draws none.
    """

    images: Images
    numbers: np.ndarray
    held_out: np.ndarray
    mirrored: bool
    n: int
    picture: Path | None

    @classmethod
    def of(cls, images: Images, config: Recipe, n: int, picture: Path | None) -> "Learned":
        """Split the data set as the run's configuration does."""
        numbers, held_out = np.arange(len(images)), np.array([], np.int64)
        if config.data.hold_out:
            numbers, held_out = images.split_numbers(config.data.hold_out, config.seed)
        return cls(images, numbers, held_out, config.data.flip, n, picture)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (indices, images in [-1, 1]) of the training images."""
        with Bar("nearest training images", len(self.numbers)) as bar:
            for start in range(0, len(self.numbers), _PART):
                own = self.numbers[start : start + _PART]
                yield torch.from_numpy(own), self.at(own)
                bar.advance(len(own))

    def at(self, numbers: Tensor | np.ndarray) -> Tensor:
        """The images with these indices, [len(numbers), C, H, W] in [-1, 1]."""
        return to_unit(self.images.batch(numbers.tolist())[0])

    def beside(self, x: Tensor, numbers: Tensor) -> Tensor:
        """The images with indices [N, k], mirrored where that is nearer to x [N, ...]: [N, k, ...]."""
        y = self.at(numbers.flatten()).unflatten(0, numbers.shape)
        if not self.mirrored:
            return y
        ways = torch.stack([y, y.flip(-1)])
        which = (ways - x[:, None]).flatten(3).square().sum(3).argmin(0)
        return torch.where(which.view(*which.shape, 1, 1, 1) == 0, ways[0], ways[1])


def memorisation(
    samples: Tensor, summary: Summary, learned: Learned, reference: Reference, extractor: Extractor
) -> dict[str, Any]:
    """Shares of samples that are near-copies, in pixels and in features, and the same for held-out images.

    A near-copy is closer to one training image than to the next by a factor of three; see `metrics.near_copies`.

    Args:
        samples: the first samples, uint8 [N, C, H, W].
        summary: summary of all samples.
        learned: the data that the model was trained on.
        reference: summary of all of that data. It keeps the features of at most 10,000 images, so neighbours in
            features are searched only among these.
        extractor: the feature extractor.

    Raises:
        FromNoiseError: if samples and images have different shapes.
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
        share = (far[:, 0] / far.amax(1)).nan_to_num(0)  # a copy of an image that occurs five times: 0 / 0
        order = share.argsort(stable=True)[:_SHOWN]
        among = learned.beside(x[order], known.numbers[places[order]][:, :_BESIDE])
        pictures.save(_picture(x[order], images[order, :_BESIDE], among), learned.picture)
        found["picture"] = str(learned.picture)
    return found


class _Features:
    """The features that the reference keeps, split into those of training images and of held-out images."""

    def __init__(self, reference: Reference, learned: Learned):
        kept = reference.summary.kept
        numbers = torch.from_numpy(rng.permutation(0, 1, len(learned.images))[: len(kept)])  # as `hashing.batches`
        apart = torch.isin(numbers, torch.from_numpy(learned.held_out))
        self.learned, self.held_out, self.numbers = kept[~apart], kept[apart], numbers[~apart]


def _held_out(summary: Summary, learned: Learned, known: _Features, extractor: Extractor, most: int) -> dict[str, Any]:
    """How near held-out images are to the training images, and the distance of the samples to them.

    A Frechet distance to few images is biased upwards. The bias is the same for as many training images, so both
    distances are reported.
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
    """One row per sample: the sample, its nearest images in pixels, its nearest images in features."""
    gap = torch.full_like(x[:, None], -1)
    rows = to_uint8(torch.cat([x[:, None], gap, near, gap, among], 1))
    return pictures.grid(rows.flatten(0, 1), rows.shape[1])
