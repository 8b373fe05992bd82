"""Even in time, from T but not down to t = 1."""

from dataclasses import dataclass

from fromnoise.registry import register
from fromnoise.schedules.spacings.base import ByTime


@register("trailing")
@dataclass(frozen=True)
class Trailing(ByTime):
    """T - i T / S, rounded, i = 0..S - 1: from T in equally long steps, of which the last one ends at t = 0.

    Like "uniform", it includes T, which zero terminal SNR needs. Its last step is as long as the others, which helps
    when there are few. Where times need not be whole, they are T - i (T - 1) / S.

    Source: Lin et al. 2024 (arXiv 2305.08891), section 3.3 and table 2.
    """

    def times(self, n: int, T: int, whole: bool) -> list[float]:
        return [round(T - i * T / n) if whole else T - i * (T - 1) / n for i in range(n)]
