"""Uniform times, spread evenly over the schedule within every batch."""

import torch
from torch import Tensor

from fromnoise.registry import register
from fromnoise.times.uniform import Uniform


@register("stratified")
class Stratified(Uniform):
    """u <- (i + u) / B for the i-th of B examples: one time from each of B equal parts of the schedule, weight 1.

    The mean loss of a batch keeps its expectation, since the order of the examples is random, and no longer varies with
    the levels that happen to be drawn: for 64 digits, a third of its variance remained. Source: the low-discrepancy
    sampler of Kingma et al. 2021, appendix I.1, but with an independent draw in each part.
    """

    def arrange(self, u: Tensor, places: range, size: int) -> Tensor:
        return (torch.arange(places.start, places.stop, dtype=u.dtype) + u) / size
