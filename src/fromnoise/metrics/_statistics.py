"""Mean and covariance of a stream of vectors, in constant memory."""

import torch
from torch import Tensor


class Statistics:
    """n, mean and sum of (x - mean)(x - mean)' of all vectors added so far, in float64.

    Batches are combined by Chan's formula, which avoids the cancellation of a plain sum of squares. Two streams, e.g.
    of two processes, can be combined too.

    Args:
        dimensions: D, the length of a vector.
    """

    def __init__(self, dimensions: int):
        self.n = 0
        self.mean = torch.zeros(dimensions, dtype=torch.float64)
        self.scatter = torch.zeros(dimensions, dimensions, dtype=torch.float64)

    def add(self, x: Tensor) -> None:
        """Add vectors, [N, D]."""
        x = x.double()
        mean = x.mean(0)
        self._join(len(x), mean, (x - mean).T @ (x - mean))

    def merge(self, other: "Statistics") -> None:
        """Add all vectors that `other` has seen."""
        if other.n:
            self._join(other.n, other.mean, other.scatter)

    def _join(self, n: int, mean: Tensor, scatter: Tensor) -> None:
        total, apart = self.n + n, mean - self.mean
        self.scatter = self.scatter + scatter + torch.outer(apart, apart) * (self.n * n / total)
        self.mean = self.mean + apart * (n / total)
        self.n = total

    @property
    def covariance(self) -> Tensor:
        """The covariance, [D, D], with divisor n - 1, as in every published FID."""
        return self.scatter / (self.n - 1)
