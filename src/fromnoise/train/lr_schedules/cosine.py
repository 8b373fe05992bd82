"""Half a cosine from the learning rate down to a fraction of it, over the steps after the warm-up."""

import math
from dataclasses import dataclass
from typing import ClassVar

from fromnoise.errors import FromNoiseError
from fromnoise.registry import register
from fromnoise.train.lr_schedules.base import LRSchedule


@register("cosine")
@dataclass(frozen=True)
class Cosine(LRSchedule):
    """lr_k = lr (e + (1 - e) (1 + cos(pi u)) / 2), u = (k - warmup) / (steps - warmup), e the final fraction.

    Source: Loshchilov and Hutter 2017 (arXiv 1608.03983), eq. 5, without restarts.

    Args:
        end: e, in [0, 1].

    Raises:
        FromNoiseError: `end` is not in [0, 1].
    """

    needs_steps: ClassVar[bool] = True
    end: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.end <= 1:
            raise FromNoiseError(f"lr_schedule.end must lie in [0, 1], got {self.end}")

    def factor(self, step: int, steps: int | None, warmup: int) -> float:
        assert steps is not None
        u = min(1.0, max(0, step - warmup) / max(1, steps - warmup))
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * u)) / 2
