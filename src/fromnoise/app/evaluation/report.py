"""Figures, with everything a reader needs to know about how they were made."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

import fromnoise
from fromnoise.metrics.features.base import Extractor

_SHOWN = 100
"""The largest number of texts that a report lists in full."""


def short(n: int) -> str:
    """Format a number of samples for the name of a figure, e.g. 50k for exactly 50,000."""
    return f"{n // 1000}k" if n >= 1000 and n % 1000 == 0 else str(n)


def shortened(described: dict[str, Any]) -> dict[str, Any]:
    """Replace a long list of texts by their number and hash."""
    texts = described.get("texts") or ()
    if len(texts) <= _SHOWN:
        return described
    return described | {"texts": {"n": len(texts), "sha256": hashlib.sha256("\n".join(texts).encode()).hexdigest()}}


def report(
    values: Sequence[Mapping[str, float]],
    seeds: Sequence[int],
    n: int,
    extractor: Extractor,
    name: str,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of eval.json.

    Args:
        values: the figures of each seed.
        seeds: seeds of the noise.
        n: number of samples for each seed.
        extractor, name: the feature extractor, and its name.
        about: further provenance: sampling, reference, ...
    """
    figures: dict[str, Any] = {}
    for key in values[0]:
        every = torch.tensor([value[key] for value in values], dtype=torch.float64)
        figures[key] = {"value": every.mean().item()}
        if len(every) > 1:
            figures[key] |= {"spread": every.std().item(), "seeds": every.tolist()}
    main = extractor.title("FD")
    return {
        "figure": f"{main}-{short(n)}",
        **figures.get(main, {"value": None}),
        "figures": figures,
        "n": n,
        "seeds": list(seeds),
        "features": {
            "name": name,
            "sha256": extractor.hash,
            "dimensions": extractor.dimensions,
            **extractor.about,
        },
        **about,
        "version": fromnoise.__version__,
    }


def warnings(n: int, extractor: Extractor, reference_n: int) -> list[str]:
    """Reasons why a figure is unfit for comparison, one line each."""
    found = []
    least = min(n, reference_n)
    if least <= extractor.dimensions:
        what = "samples" if n <= reference_n else "reference images"
        found.append(f"{least} {what} for {extractor.dimensions} features: the covariance is singular and "
                     f"{extractor.title('FD')} far too high; take more than {extractor.dimensions}, and for published "
                     "figures 50,000")  # fmt: skip
    return found
