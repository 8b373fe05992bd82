"""Mean and covariance of a stream of vectors, in constant memory."""

import torch
from torch import Tensor


class Statistics:
    """n, mean and sum of (x - mean)(x - mean)' of all vectors added so far, in float64.

    Batches are joined by Chan's formula, which loses no digits where a plain sum of squares would. Two streams may be
    joined too: processes count apart.

    Args:
        dimensions: D.
    """

    def __init__(self, dimensions: int):
        self.n = 0
        self.mean = torch.zeros(dimensions, dtype=torch.float64)
        self.scatter = torch.zeros(dimensions, dimensions, dtype=torch.float64)

    def add(self, x: Tensor) -> None:
        """Vectors [N, D]."""
        x = x.double()
        mean = x.mean(0)
        self._join(len(x), mean, (x - mean).T @ (x - mean))

    def merge(self, other: "Statistics") -> None:
        """All that the other has seen."""
        if other.n:
            self._join(other.n, other.mean, other.scatter)

    def _join(self, n: int, mean: Tensor, scatter: Tensor) -> None:
        total, apart = self.n + n, mean - self.mean
        self.scatter = self.scatter + scatter + torch.outer(apart, apart) * (self.n * n / total)
        self.mean = self.mean + apart * (n / total)
        self.n = total

    @property
    def covariance(self) -> Tensor:
        """[D, D], divided by n - 1, as in every published FID."""
        return self.scatter / (self.n - 1)
