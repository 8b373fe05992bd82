"""Learned by the network, between beta-tilde and beta."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Step, like
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.registry import register
from fromnoise.variances.base import Variance


@register("learned-range")
@dataclass(frozen=True)
class LearnedRange(Variance):
    """exp(f log b + (1 - f) log beta-tilde), the fraction f = (o + 1)/2 from the network's second half o.

    Source: Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 15; Sedykh eq. 4.1 (which calls beta-tilde learned; it is
    not). f = 0 gives beta-tilde and f = 1 gives b; f is not bounded to [0, 1].
    """

    outputs: ClassVar[int] = 2

    def log_var(self, p: Prediction, k: Step, small: Tensor) -> Tensor:
        if p.variance is None:
            raise FromNoiseError("this prediction has no learned variance")
        low, high = like(small, p.x_t), like(torch.log(k.b), p.x_t)
        return low + p.variance * (high - low)
