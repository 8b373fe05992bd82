"""The loss in four ranges of noise levels, which says more about a denoiser's progress than the mean loss."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

BOUNDS = (-4.0, 0.0, 4.0)
"""Bounds of log-SNR = log(alpha^2 / sigma^2), which is 0 where signal and noise are equally strong."""
RANGES = ("loss_noise", "loss_noisy", "loss_clear", "loss_clean")
"""Names of the ranges in the log, from noise to data; a bound belongs to the range below it."""

Seen = tuple[Tensor, Tensor]
"""(log-SNR on the CPU, loss on the device) of each example, [B]."""


def read(numbers: Sequence[Tensor], seen: Seen | None) -> list[float]:
    """Read the numbers from the device, followed by the loss sums and the example counts of the ranges.

    There is only one read, since each one waits for the device. Sums and counts are divided by the batch size, so that
    they can be averaged over processes like the other numbers.
    """
    vector = torch.stack(list(numbers))
    if seen is None:
        return vector.tolist()
    log_snr, loss = seen
    found = torch.cat([vector, loss.to(vector.dtype)]).tolist()
    places = torch.bucketize(log_snr, torch.tensor(BOUNDS, dtype=log_snr.dtype)).tolist()
    sums, counts = [0.0] * len(RANGES), [0.0] * len(RANGES)
    for place, one in zip(places, found[len(numbers) :], strict=True):
        sums[place] += one / len(places)
        counts[place] += 1 / len(places)
    return found[: len(numbers)] + sums + counts


def gathered(names: Iterable[str], means: Sequence[float]) -> dict[str, float]:
    """The means by name, and the mean loss of each range that had an example."""
    known = list(names)
    rest = means[len(known) :]
    found = dict(zip(known, means, strict=False))
    for name, total, share in zip(RANGES, rest[: len(RANGES)], rest[len(RANGES) :], strict=False):
        if share:
            found[name] = total / share
    return found
