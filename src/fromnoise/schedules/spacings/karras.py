"""EDM's spacing: even in (sigma / alpha)^(1/7), finest near the data."""

import math
from dataclasses import dataclass

from fromnoise.registry import register
from fromnoise.schedules.spacings.base import ByNoise


@register("karras")
@dataclass(frozen=True)
class Karras(ByNoise):
    """v^(1/7) is evenly spaced, v = sigma / alpha = exp(-log_snr / 2): finest near the data.

    Source: Karras et al. 2022 (arXiv 2206.00364), eq. 5.
    """

    def log_snrs(self, n: int, high: float, low: float) -> list[float]:
        first, last = math.exp(-low / 14), math.exp(-high / 14)
        return [-14 * math.log(first + i * (last - first) / max(n - 1, 1)) for i in range(n)]
