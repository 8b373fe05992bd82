"""DDIM's: even in time from 1, not up to T."""

from dataclasses import dataclass

from fromnoise.registry import register
from fromnoise.schedules.spacings.base import ByTime


@register("ddim")
@dataclass(frozen=True)
class DDIM(ByTime):
    """1 + i floor(T / S), i = 0..S - 1: DDIM's uniform sub-sequence, which starts sampling below T: at 981 for S = 50.

    Source: Song et al. 2021 (arXiv 2010.02502), appendix D.2.
    """

    def times(self, n: int, T: int, whole: bool) -> list[float]:
        return [1 + i * (T // n if whole else (T - 1) / n) for i in range(n)]
