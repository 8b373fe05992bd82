"""A constant learning rate, as in DDPM, improved DDPM and DiT."""

from dataclasses import dataclass

from fromnoise.registry import register
from fromnoise.train.lr_schedules.base import LRSchedule


@register("constant")
@dataclass(frozen=True)
class Constant(LRSchedule):
    """lr_k = lr."""

    def factor(self, step: int, steps: int | None, warmup: int) -> float:
        return 1.0
