"""What a spacing is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from fromnoise.errors import FromNoiseError
from fromnoise.schedules import spacings
from fromnoise.system import checks


class Spacing:
    """Which n levels of a schedule a sampler visits: `ByTime` or `ByNoise`."""

    @staticmethod
    def of(spacing: "str | Spacing") -> "ByTime | ByNoise":
        """The object of that name, or the object itself.

        Raises:
            FromNoiseError: an unknown name, or what is neither.
        """
        found = spacings.registry.resolve(spacing, Spacing)
        if not isinstance(found, ByTime | ByNoise):
            raise FromNoiseError(f"{type(found).__name__} must be a subclass of spacings.ByTime or of spacings.ByNoise")
        return found


class ByTime(Spacing, ABC):
    """Times in [1, T], evenly or not: a sub-sequence of the chain."""

    @abstractmethod
    def times(self, n: int, T: int, whole: bool) -> Sequence[float]:
        """At most n times in [1, T], in any order; repeats are dropped.

        Args:
            n: at least 1.
            T: length of the chain.
            whole: only its rows exist, so that times are whole numbers.
        """


class ByNoise(Spacing, ABC):
    """Log-SNRs between those of the first and of the last row, whatever their times: between rows too."""

    @abstractmethod
    def log_snrs(self, n: int, high: float, low: float) -> Sequence[float]:
        """n log-SNRs, rising from `low`, that of t = T, to `high`, that of t = 1; for n = 1 that of t = T.

        Args:
            n: at least 0 (a schedule that ends without any signal adds that level itself).
            high, low: finite.
        """


def check_steps(n: int, T: int, whole: bool) -> None:
    """Raises: FromNoiseError for an n that is no whole number, below 1 or, for whole rows, above T."""
    checks.whole("steps", n)
    if n < 1 or (whole and n > T):
        most = f"between 1 and {T}, the length of the model's chain" if whole else "at least at 1"
        raise FromNoiseError(f"steps must lie {most}, got {n}")
