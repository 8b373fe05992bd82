"""Even in log-SNR: the geometric ladder of NCSN and the grid of DPM-Solver."""

from dataclasses import dataclass

from fromnoise.registry import register
from fromnoise.schedules.spacings.base import ByNoise


@register("log-snr")
@dataclass(frozen=True)
class LogSNR(ByNoise):
    """low + i (high - low) / (S - 1), i = 0..S - 1: evenly spaced in log-SNR.

    Source: NCSN's geometric ladder (Song and Ermon 2019, arXiv 1907.05600); DPM-Solver's grid (Lu et al. 2022, arXiv
    2206.00927).
    """

    def log_snrs(self, n: int, high: float, low: float) -> list[float]:
        return [low + i * (high - low) / max(n - 1, 1) for i in range(n)]
