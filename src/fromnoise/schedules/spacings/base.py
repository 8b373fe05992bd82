"""Base classes of spacings."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from fromnoise.errors import FromNoiseError
from fromnoise.schedules import spacings
from fromnoise.system import checks


class Spacing:
    """Which n levels of a schedule a sampler visits: `ByTime` or `ByNoise`."""

    @staticmethod
    def of(spacing: "str | Spacing") -> "ByTime | ByNoise":
        """Return the spacing with the given name, or the given spacing itself.

        Raises:
            FromNoiseError: the name is unknown, or the object is not a spacing.
        """
        found = spacings.registry.resolve(spacing, Spacing)
        if not isinstance(found, ByTime | ByNoise):
            raise FromNoiseError(f"{type(found).__name__} must be a subclass of spacings.ByTime or of spacings.ByNoise")
        return found


class ByTime(Spacing, ABC):
    """Selects levels by their times in [1, T]: a sub-sequence of the chain."""

    @abstractmethod
    def times(self, n: int, T: int, whole: bool) -> Sequence[float]:
        """At most n times in [1, T], in any order; repeats are dropped.

        Args:
            n: number of steps, at least 1.
            T: length of the chain.
            whole: whether only rows can be used, so that times must be whole numbers.
        """


class ByNoise(Spacing, ABC):
    """Selects levels by their log-SNRs, from that of the first row to that of the last; they may lie between rows."""

    @abstractmethod
    def log_snrs(self, n: int, high: float, low: float) -> Sequence[float]:
        """n log-SNRs, rising from `low` to `high`; only `low` for n = 1.

        Args:
            n: number of levels, at least 0: a schedule without signal at T adds that level itself.
            high, low: log-SNR at t = 1 and at t = T, both finite.
        """


def check_steps(n: int, T: int, whole: bool) -> None:
    """Check the number of steps.

    Raises:
        FromNoiseError: n is not a whole number, is below 1 or, if only whole rows can be used, above T.
    """
    checks.whole("steps", n)
    if n < 1 or (whole and n > T):
        most = f"lie between 1 and {T}, the length of the model's chain" if whole else "be at least 1"
        raise FromNoiseError(f"steps must {most}, got {n}")
