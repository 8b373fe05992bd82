"""The training examples closest to a sample, and whether the sample copies one of them."""

from collections.abc import Iterable

import torch
from torch import Tensor

RATIO = 1 / 3
"""A sample counts as a copy if its nearest training example is nearer than the next by this factor."""
_SAME = 0.01
"""Two training examples count as the same if they differ by less than this share of their norm."""


def nearest(x: Tensor, parts: Iterable[tuple[Tensor, Tensor]], k: int = 5, mirrored: bool = False) -> Tensor:
    """argmin_i |x - y_i|: the numbers of the k nearest examples, nearest first, int64 [N, min(k, M)].

    Args:
        x: samples, [N, ...].
        parts: batches (numbers [m], examples y [m, ...]) of all M examples; memory does not grow with M.
        k: number of neighbours.
        mirrored: use the distance to y or to its mirror image along the last axis, whichever is smaller.

    Raises:
        ValueError: there are no examples.
    """
    rows = x.flatten(1).float()
    best, numbers = torch.empty(len(x), 0), torch.empty(len(x), 0, dtype=torch.int64)
    for own, y in parts:
        square = _squares(rows, y)
        if mirrored:
            square = torch.minimum(square, _squares(rows, y.flip(-1)))
        best = torch.cat([best, square], 1)
        numbers = torch.cat([numbers, own.expand(len(x), -1)], 1)
        best, kept = best.topk(min(k, best.shape[1]), dim=1, largest=False)
        numbers = numbers.gather(1, kept)
    if not numbers.shape[1]:
        raise ValueError("no example to be near to")
    return numbers


def _squares(rows: Tensor, y: Tensor) -> Tensor:
    """|x - y|^2, [N, M], by a matrix product: exact to about 1e-6 of |x|^2 and |y|^2."""
    y = y.flatten(1).float()
    return rows.square().sum(1, keepdim=True) - 2 * rows @ y.T + y.square().sum(1)


def near_copies(x: Tensor, neighbours: Tensor, ratio: float = RATIO) -> Tensor:
    """|x - y_1| < ratio |x - y_2|, y_1 the nearest training example and y_2 the nearest that differs from it, [N] bool.

    Duplicates of y_1 are skipped for y_2: a copy of a duplicated example is equally near to both, and would otherwise
    not be found. If all neighbours are duplicates of one example, x is a copy if it differs from it as little as they
    do.

    Source: Yoon et al. 2023, and Gu et al. 2023 (arXiv 2310.02664), section 2, with the ratio 1/3.

    Args:
        x: samples, [N, ...].
        neighbours: the nearest training examples of each sample, nearest first, [N, k, ...].
        ratio: in (0, 1).
    """
    x, y = x.flatten(1).double()[:, None], neighbours.flatten(2).double()
    far = (x - y).norm(dim=2)
    same = (y - y[:, :1]).norm(dim=2) <= _SAME * y[:, :1].norm(dim=2)
    other = far.masked_fill(same, torch.inf).amin(1)
    alone = far[:, 0] <= _SAME * y[:, 0].norm(dim=1)
    return torch.where(other.isinf(), alone, far[:, 0] < ratio * other)


def distances(x: Tensor, neighbours: Tensor) -> Tensor:
    """Root mean square difference between each x and its neighbours, [N, k]."""
    return (x.flatten(1).double()[:, None] - neighbours.flatten(2).double()).square().mean(2).sqrt()
