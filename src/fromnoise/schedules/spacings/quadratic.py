"""DDIM's quadratic spacing: finer near the data."""

import math
from dataclasses import dataclass

from fromnoise.registry import register
from fromnoise.schedules.spacings.base import ByTime


@register("quadratic")
@dataclass(frozen=True)
class Quadratic(ByTime):
    """1 + floor((i sqrt(0.8 T) / (S - 1))^2), i = 0..S - 1: DDIM's quadratic sub-sequence, without repeats.

    Source: Song et al. 2021 (arXiv 2010.02502), appendix D.2.
    """

    def times(self, n: int, T: int, whole: bool) -> list[float]:
        root = math.sqrt(0.8 * T)
        places = [1 + (i * root / (n - 1)) ** 2 for i in range(n)] if n > 1 else [T]
        return [int(p) for p in places] if whole else [min(p, T) for p in places]
