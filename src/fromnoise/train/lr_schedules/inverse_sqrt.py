"""Constant at first, then falling with the inverse square root of the step; needs no fixed end."""

import math
from dataclasses import dataclass

from fromnoise.errors import FromNoiseError
from fromnoise.registry import register
from fromnoise.train.lr_schedules.base import LRSchedule


@register("inverse-sqrt")
@dataclass(frozen=True)
class InverseSqrt(LRSchedule):
    """lr_k = lr / sqrt(max(k / after, 1)).

    Source: Karras et al. 2024 (EDM2, arXiv 2312.02696), whose reference step is `after`.

    Args:
        after: the step from which the learning rate falls, at least 1.

    Raises:
        FromNoiseError: `after` is below 1.
    """

    after: int = 1000

    def __post_init__(self) -> None:
        if self.after < 1:
            raise FromNoiseError(f"lr_schedule.after must be at least 1, got {self.after}")

    def factor(self, step: int, steps: int | None, warmup: int) -> float:
        return 1 / math.sqrt(max(step / self.after, 1.0))
