"""Comparing two sets of images."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from fromnoise import metrics
from fromnoise.data.hashing import batches
from fromnoise.data.images import Images, InMemory
from fromnoise.errors import FromNoiseError
from fromnoise.metrics import features
from fromnoise.metrics.features.base import Extractor
from fromnoise.metrics.figures import Summary


def compare(
    samples: Tensor | Images,
    reference: Tensor | Images,
    extractor: str | Extractor = "inception",
    which: Sequence[str] | None = None,
) -> dict[str, float]:
    """The figures of samples against a reference (FD, KID, precision, recall, ...) by their proper names.

    Args:
        samples, reference: uint8 tensors [N, C, H, W], or images of `fromnoise.data`.
        extractor: a name from `features.names()`, or an object.
        which: names from `metrics.names()`; default: all metrics.

    Raises:
        FromNoiseError: the image sizes differ, a name is unknown, a feature is not finite, or the extractor fails.
    """
    if isinstance(extractor, str):
        extractor = features.build(extractor)
    sets = [InMemory("images", x) if isinstance(x, Tensor) else x for x in (samples, reference)]
    check_shapes(*sets)
    one, other = (summarise(batches(x), len(x), extractor) for x in sets)
    return figures(one, other, extractor, which)


def check_shapes(samples: Images, reference: Images) -> None:
    """Check that samples and reference have the same height and width.

    Raises:
        FromNoiseError: they differ.
    """
    if samples.shape[1:] != reference.shape[1:]:
        one, other = ("x".join(map(str, x.shape[1:])) for x in (samples, reference))
        raise FromNoiseError(f"the samples are {one} and the images of {reference.name} {other}: bring them to one "
                             "size, since resizing changes every figure")  # fmt: skip


def summarise(
    parts: Iterable[tuple[int, Tensor]],
    n: int,
    extractor: Extractor,
    callback: Callable[[int], None] | None = None,
    labels: Callable[[int, int], Tensor | None] = lambda first, count: None,
) -> Summary:
    """Summarise n images that come in numbered batches.

    Args:
        parts: (number of the first image, uint8 [N, C, H, W]) of each batch.
        n: total number of images.
        extractor: the feature extractor.
        callback: called after each batch with its number of images.
        labels: (first, count) -> the requested classes of the images first, first + 1, ..., or None.
    """
    summary = Summary(n)
    for first, pixels in parts:
        with torch.no_grad():
            summary.add(first, extractor(pixels), labels(first, len(pixels)))
        if callback is not None:
            callback(len(pixels))
    return summary


def figures(
    samples: Summary, reference: Summary, extractor: Extractor, which: Sequence[str] | None = None
) -> dict[str, float]:
    """The figures of the chosen metrics (default: all), named after the extractor's features."""
    found: dict[str, float] = {}
    for name in which or metrics.names():
        for kind, value in metrics.build(name)(samples, reference).items():
            head, space, rest = kind.partition(" ")
            found[extractor.title(head) + space + rest if head.isupper() or head == "sFD" else kind] = value
    return found
