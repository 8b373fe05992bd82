"""Which times of a schedule a sampler of S steps visits: the sub-sequences of the papers."""

import math
from collections.abc import Callable

from fromnoise.errors import FromNoiseError, unknown


def uniform(n: int, total: int, whole: bool) -> list[float]:
    """1 + i (T - 1) / (S - 1), i = 0..S - 1: contains 1 and T (improved DDPM, which rounds). One step is [T]."""
    places = [i * (total - 1) / (n - 1) for i in range(n)] if n > 1 else [total - 1]
    return [1 + (round(p) if whole else p) for p in places]


def ddim(n: int, total: int, whole: bool) -> list[float]:
    """1 + i floor(T / S): DDIM's uniform sub-sequence, which starts sampling below T (at 981 for S = 50)."""
    return [1 + i * (total // n if whole else (total - 1) / n) for i in range(n)]


def quadratic(n: int, total: int, whole: bool) -> list[float]:
    """1 + floor((i sqrt(0.8 T) / (S - 1))^2): DDIM's quadratic sub-sequence, repeats dropped."""
    root = math.sqrt(0.8 * total)
    places = [1 + (i * root / (n - 1)) ** 2 for i in range(n)] if n > 1 else [total]
    return [int(p) for p in places] if whole else [min(p, total) for p in places]


SPACINGS: dict[str, Callable[[int, int, bool], list[float]]] = {
    "uniform": uniform,
    "ddim": ddim,
    "quadratic": quadratic,
}


def log_snr(n: int, high: float, low: float) -> list[float]:
    """Even in log-SNR from noise to image: NCSN's geometric ladder, DPM-Solver's grid."""
    return [low + i * (high - low) / max(n - 1, 1) for i in range(n)]


def karras(n: int, high: float, low: float) -> list[float]:
    """v = sigma / alpha even in v^(1/7), finest at the image (Karras et al. 2022, eq. 5)."""
    first, last = math.exp(-low / 14), math.exp(-high / 14)
    return [-14 * math.log(first + i * (last - first) / max(n - 1, 1)) for i in range(n)]


LADDERS: dict[str, Callable[[int, float, float], list[float]]] = {"log-snr": log_snr, "karras": karras}
"""Spacings by noise in place of time: log-SNRs from that of t = T (low) to that of t = 1 (high)."""


def check(n: int, total: int, spacing: str, whole: bool) -> None:
    """Raises: FromNoiseError for an unknown spacing, or n below 1 or, for whole rows, above T."""
    if spacing not in SPACINGS | LADDERS:
        raise unknown("spacing", spacing, SPACINGS | LADDERS)
    if n < 1 or (whole and n > total):
        most = f"between 1 and {total}, the length of the model's chain" if whole else "at least at 1"
        raise FromNoiseError(f"steps must lie {most}, got {n}")


def times(n: int, total: int, spacing: str, whole: bool) -> list[float]:
    """Times in [1, T], ascending, without repeats; whole rows, or the fractional times that those stand for.

    Raises:
        FromNoiseError: an unknown spacing, or n below 1 or, for whole rows, above T.
    """
    check(n, total, spacing, whole)
    return sorted(set(SPACINGS[spacing](n, total, whole)))
