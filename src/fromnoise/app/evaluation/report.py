"""Figures and everything that a reader needs to know of how they were made."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

import fromnoise
from fromnoise.metrics.features.base import Extractor

_SHOWN = 100
"""Texts that a report lists."""


def short(n: int) -> str:
    """The number of samples as names of figures have it: 50k for 50,000 and for nothing else."""
    return f"{n // 1000}k" if n >= 1000 and n % 1000 == 0 else str(n)


def shortened(described: dict[str, Any]) -> dict[str, Any]:
    """Without the texts where they are many: how many, and the hash of all."""
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
    """The content of eval.json.

    Args:
        values: the figures of each seed.
        seeds: of the noise.
        n: samples of each seed.
        extractor, name: of the features.
        about: what else was done: sampler, reference, ...
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
    """What makes a figure unfit for comparison, a line each."""
    found = []
    least = min(n, reference_n)
    if least <= extractor.dimensions:
        what = "samples" if n <= reference_n else "reference images"
        found.append(f"{least} {what} for {extractor.dimensions} features: the covariance is singular and "
                     f"{extractor.title('FD')} far too high; take more than {extractor.dimensions}, and for published "
                     "figures 50,000")  # fmt: skip
    return found
