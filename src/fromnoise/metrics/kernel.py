"""The kernel distance: KID with Inception's features; its estimate is unbiased."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fromnoise.metrics.base import Metric
from fromnoise.metrics.figures import Summary
from fromnoise.registry import register
from fromnoise.system import rng


@register("kernel")
@dataclass(frozen=True)
class Kernel(Metric):
    """KID = MMD^2 with k(a, b) = (a'b / D + 1)^3: mean and standard deviation over random subsets.

    Unlike FID it has no bias that depends on the number of samples. Source: Binkowski et al. 2018.

    Args:
        subsets: number of subsets, each drawn without repeats.
        size: images per subset; all images if there are fewer.
    """

    subsets: int = 100
    size: int = 1000

    def __call__(self, samples: Summary, reference: Summary) -> dict[str, float]:
        one, other = samples.kept.double(), reference.kept.double()
        size = min(self.size, len(one), len(other))
        if size < 2:
            return {}
        # If a subset is the whole of both sets, one is enough.
        count = 1 if size == len(one) == len(other) else self.subsets
        values = []
        for i in range(count):
            a, b = (torch.from_numpy(rng.permutation(j, i, len(x))[:size]) for j, x in enumerate((one, other)))
            values.append(mmd(one[a], other[b]))
        every = torch.stack(values)
        return {"KID": every.mean().item(), "KID deviation": every.std(correction=0).item()}


def mmd(one: Tensor, other: Tensor) -> Tensor:
    """E k(a, a') + E k(b, b') - 2 E k(a, b) with a != a', b != b': the unbiased estimate, a scalar.

    Args:
        one, other: feature vectors, [N, D] and [M, D].
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        k = kernel(a, a)
        return (k.sum() - k.trace()) / (len(a) * (len(a) - 1))

    return within(one) + within(other) - 2 * kernel(one, other).mean()
