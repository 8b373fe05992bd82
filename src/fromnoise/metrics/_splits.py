"""The running sums of the inception score, so that probabilities need not be stored."""

import torch
from torch import Tensor

from fromnoise.system import rng


class Splits:
    """For each split of n samples: their number, the sum of p and the sum of p log p.

    Args:
        n: total number of samples. They are assigned to splits by a fixed random permutation, because files are often
            sorted by class.
        classes: K, the number of classes.
        splits: number of splits, at most n; each has a score of its own.
    """

    def __init__(self, n: int, classes: int, splits: int = 10):
        self.n, self.splits = n, min(splits, n)
        self.where = torch.from_numpy(rng.permutation(0, 0, n)) * self.splits // n
        self.count = torch.zeros(self.splits, dtype=torch.float64)
        self.total = torch.zeros(self.splits, classes, dtype=torch.float64)
        self.negentropy = torch.zeros(self.splits, dtype=torch.float64)

    def add(self, first: int, probabilities: Tensor) -> None:
        """Add p(y | x) of the samples first, first + 1, ..., [N, K]."""
        p = probabilities.double()
        where = self.where[first : first + len(p)]
        self.count.index_add_(0, where, torch.ones(len(p), dtype=torch.float64))
        self.total.index_add_(0, where, p)
        self.negentropy.index_add_(0, where, torch.special.xlogy(p, p).sum(1))

    def merge(self, other: "Splits") -> None:
        self.count, self.total = self.count + other.count, self.total + other.total
        self.negentropy = self.negentropy + other.negentropy

    def scores(self) -> Tensor:
        """exp(E_x KL(p(y | x) | p(y))) of each split, [splits]."""
        mean = self.total / self.count[:, None]
        return (self.negentropy / self.count - torch.special.xlogy(mean, mean).sum(1)).exp()

    def tensors(self) -> dict[str, Tensor]:
        return {"count": self.count, "total": self.total, "negentropy": self.negentropy}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the sums that `tensors` returned."""
        self.count, self.total, self.negentropy = (tensors[k] for k in ("count", "total", "negentropy"))
