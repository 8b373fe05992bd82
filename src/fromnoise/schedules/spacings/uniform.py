"""Even in time, both ends included."""

from dataclasses import dataclass

from fromnoise.registry import register
from fromnoise.schedules.spacings.base import ByTime


@register("uniform")
@dataclass(frozen=True)
class Uniform(ByTime):
    """1 + i (T - 1) / (S - 1), i = 0..S - 1: includes 1 and T; one step is [T] (improved DDPM, rounded)."""

    def times(self, n: int, T: int, whole: bool) -> list[float]:
        places = [i * (T - 1) / (n - 1) for i in range(n)] if n > 1 else [T - 1]
        return [1 + (round(p) if whole else p) for p in places]
