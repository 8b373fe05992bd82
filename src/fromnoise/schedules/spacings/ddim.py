"""DDIM's uniform spacing: even in time, from t = 1 but not up to T."""

from dataclasses import dataclass

from fromnoise.registry import register
from fromnoise.schedules.spacings.base import ByTime


@register("ddim")
@dataclass(frozen=True)
class DDIM(ByTime):
    """1 + i floor(T / S), i = 0..S - 1: DDIM's uniform sub-sequence.

    Sampling starts below T: at t = 981 for T = 1000 and S = 50 steps.

    Source: Song et al. 2021 (arXiv 2010.02502), appendix D.2.
    """

    def times(self, n: int, T: int, whole: bool) -> list[float]:
        return [1 + i * (T // n if whole else (T - 1) / n) for i in range(n)]
