"""Which of many processes keeps the others waiting."""

from collections.abc import Callable, Sequence
from statistics import median_low as median

_STEPS = 20
"""That are averaged before anything is said."""


class Stragglers:
    """The running mean of each process' own seconds in a step: those before it waits for others.

    Args:
        host: the name of the machine that a process runs on.
        say: tells a line.
    """

    factor, least = 1.5, 0.01

    def __init__(self, host: Callable[[int], str], say: Callable[[str], None]):
        self.host, self.say = host, say
        self.means: list[float] = []
        self.steps, self.named = 0, set[int]()

    def line(self, seconds: Sequence[float]) -> dict[str, float]:
        """For the log: {"straggler": rank, "straggler_times": how many times the median} while there is one, which is
        said once of each.

        Args:
            seconds: of each process, in this step.
        """
        found = self.slowest(seconds)
        if found is None:
            return {}
        rank, times = found
        if rank not in self.named:
            self.named.add(rank)
            self.say(f"process {rank} on {self.host(rank)} is a straggler: its examples and forward pass take "
                     f"{times:.1f} times as long as most")  # fmt: skip
        return {"straggler": rank, "straggler_times": times}

    def slowest(self, seconds: Sequence[float]) -> tuple[int, float] | None:
        """(rank, times the median) of a process that takes half as long again as the median one, and 10 ms more."""
        self.steps += 1
        weight = max(1 / self.steps, 1 / _STEPS)
        old = self.means or [0.0] * len(seconds)
        self.means = [mean + weight * (now - mean) for mean, now in zip(old, seconds, strict=True)]
        middle, most = median(self.means), max(self.means)
        if len(seconds) < 2 or self.steps < _STEPS or most < self.factor * middle or most < middle + self.least:
            return None
        return self.means.index(most), most / max(middle, 1e-9)
