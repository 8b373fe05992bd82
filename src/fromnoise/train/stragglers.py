"""Find the process that keeps the others waiting."""

from collections.abc import Callable, Sequence
from statistics import median_low as median

_STEPS = 20
"""Steps that are averaged before a process is reported."""


class Stragglers:
    """Running means of the seconds that each process computes in a step before it waits for the others.

    Args:
        host: a function from a rank to the name of its machine.
        say: shows a line to the user.
    """

    factor, least = 1.5, 0.01

    def __init__(self, host: Callable[[int], str], say: Callable[[str], None]):
        self.host, self.say = host, say
        self.means: list[float] = []
        self.steps, self.named = 0, set[int]()

    def line(self, seconds: Sequence[float]) -> dict[str, float]:
        """The log's entries while there is a straggler: {"straggler": rank, "straggler_times": multiple of the median}.

        Each straggler is reported to the user once.

        Args:
            seconds: the seconds of each process in this step.
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
        """(rank, multiple of the median) of a process whose mean is at least 1.5 times and 10 ms above the median."""
        self.steps += 1
        weight = max(1 / self.steps, 1 / _STEPS)
        old = self.means or [0.0] * len(seconds)
        self.means = [mean + weight * (now - mean) for mean, now in zip(old, seconds, strict=True)]
        middle, most = median(self.means), max(self.means)
        if len(seconds) < 2 or self.steps < _STEPS or most < self.factor * middle or most < middle + self.least:
            return None
        return self.means.index(most), most / max(middle, 1e-9)
