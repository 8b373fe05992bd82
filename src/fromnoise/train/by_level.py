"""The loss at four ranges of noise, which tells more of a denoiser's learning than its mean does."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fromnoise.gaussian import Level

BOUNDS = (-4.0, 0.0, 4.0)
"""Of log-SNR = log(alpha^2 / sigma^2), which is 0 where signal and noise are equally strong."""
RANGES = ("loss_noise", "loss_noisy", "loss_clear", "loss_clean")
"""Names in the log, from noise to data; a bound belongs to the range below it."""
_SUM, _SHARE = "sum of ", "share of "


def spread(loss: Tensor, t: Level) -> dict[str, Tensor]:
    """Values of each example, [B], whose means give the mean of each range, whatever is averaged how often.

    Args:
        loss: of each example, [B], unweighted.
        t: its level, [B].
    """
    place = torch.bucketize(t.log_snr.detach().double(), torch.tensor(BOUNDS, dtype=torch.float64)).expand(len(loss))
    inside = torch.nn.functional.one_hot(place, len(RANGES)).T.to(loss.device, loss.dtype, non_blocking=True)
    loss = loss.detach()
    sums = {_SUM + name: loss * inside[i] for i, name in enumerate(RANGES)}
    return sums | {_SHARE + name: inside[i] for i, name in enumerate(RANGES)}


def gathered(means: Mapping[str, float]) -> dict[str, float]:
    """The same means with, for each range that had an example, the mean loss there."""
    found = {name: value for name, value in means.items() if not name.startswith((_SUM, _SHARE))}
    for name in RANGES:
        if share := means.get(_SHARE + name):
            found[name] = means[_SUM + name] / share
    return found
