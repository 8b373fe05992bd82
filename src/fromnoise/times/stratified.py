"""Every time equally often, and every batch spread evenly over the times."""

import torch
from torch import Tensor

from fromnoise.registry import register
from fromnoise.times.uniform import Uniform


@register("stratified")
class Stratified(Uniform):
    """u <- (i + u) / B for the i-th of B examples: one time from each of B equal parts of the schedule, weight 1.

    A batch's mean loss has the same expectation, since which image stands at its i-th place is random, and no longer
    varies by which levels happened to be drawn (for 64 digits a third of the variance was left). Source: the
    low-discrepancy sampler of Kingma et al. 2021, appendix I.1, with a draw of its own in each part.
    """

    def arrange(self, u: Tensor, places: range, size: int) -> Tensor:
        return (torch.arange(places.start, places.stop, dtype=u.dtype) + u) / size
