"""Which rows of a chain of T steps a sampler of S steps visits: the sub-sequences of the papers."""

import math
from collections.abc import Callable

from fromnoise.errors import FromNoiseError, unknown


def uniform(n: int, total: int) -> list[int]:
    """1 + round(i (T - 1) / (S - 1)), i = 0..S - 1: contains 1 and T (improved DDPM). One step is [T]."""
    return [1 + round(i * (total - 1) / (n - 1)) for i in range(n)] if n > 1 else [total]


def ddim(n: int, total: int) -> list[int]:
    """1 + i floor(T / S): DDIM's uniform sub-sequence, which starts sampling below T (at 981 for S = 50)."""
    return [1 + i * (total // n) for i in range(n)]


def quadratic(n: int, total: int) -> list[int]:
    """1 + floor((i sqrt(0.8 T) / (S - 1))^2): DDIM's quadratic sub-sequence, repeats dropped."""
    root = math.sqrt(0.8 * total)
    return [1 + int((i * root / (n - 1)) ** 2) for i in range(n)] if n > 1 else [total]


SPACINGS: dict[str, Callable[[int, int], list[int]]] = {"uniform": uniform, "ddim": ddim, "quadratic": quadratic}


def rows(n: int, total: int, spacing: str) -> list[int]:
    """The rows, ascending, without repeats.

    Raises:
        FromNoiseError: an unknown spacing, or n outside 1..T.
    """
    if spacing not in SPACINGS:
        raise unknown("spacing", spacing, SPACINGS)
    if not 1 <= n <= total:
        raise FromNoiseError(f"steps must lie between 1 and {total}, the length of the model's chain, got {n}")
    return sorted(set(SPACINGS[spacing](n, total)))
