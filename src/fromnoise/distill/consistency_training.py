"""Consistency training: a consistency model from data alone."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fromnoise.denoise import Denoiser
from fromnoise.distill._pairs import Pairs, gap
from fromnoise.distill.levels import above
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level
from fromnoise.parameterizations.students.consistency import MOST
from fromnoise.registry import register
from fromnoise.schedules.base import Chain, Schedule
from fromnoise.times.base import TimeSampling
from fromnoise.times.lognormal import LogNormal


@register("consistency-training")
@dataclass(frozen=True, eq=False)
class ConsistencyTraining(Pairs):
    """L = d(f(x_t, t), f(x_s, s)) / (r_t - r_s), both states of the same x_0 and eps, on a grid of n levels.

    n = min(first 2^floor((step - 1) / double_every), last). For Gaussian data its fixed point is the Euler map of n
    steps. Source: Song and Dhariwal 2023 (arXiv 2310.14189), table 1; Song et al. 2023 (arXiv 2303.01469), algorithm 3.

    Args:
        teacher: optional; the student starts from its weights.
        first, last: number of levels of the grid at the start, and at most.
        double_every: number of training steps after which the number of levels doubles.
        huber: c / sqrt(D) of the distance sqrt(|e|^2 + c^2) - c; 0 is the squared error.
        top, bottom: r at the two ends of the grid.

    Raises:
        FromNoiseError: first is below 2, last is below first or above 10,000, or double_every is below 1.
    """

    needs_teacher: ClassVar[bool] = False
    asks: ClassVar[bool] = False
    teacher: Denoiser | None = None
    first: int = 10
    last: int = 1280
    double_every: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.first <= self.last <= MOST or self.double_every < 1:
            raise FromNoiseError(f"2 <= first <= last <= {MOST:,} and double_every >= 1 are needed, got "
                                 f"{self.first}, {self.last} and {self.double_every}")  # fmt: skip

    @property
    def times(self) -> TimeSampling:
        """ln r is normal, as in the paper."""
        return LogNormal(-1.1, 2.0)

    def levels(self, step: int) -> int:
        """n, the number of levels at a training step."""
        doublings = max(step - 1, 0) // self.double_every
        return min(self.first << min(doublings, 60), self.last)

    def grid(self, schedule: Schedule, step: int) -> Chain:
        """n noisy levels and the clean level."""
        return self.student.grid(schedule, self.levels(step))

    def pair(self, denoiser: Denoiser, t: Level, step: int) -> tuple[Level, Level, Tensor]:
        grid = self.grid(denoiser.schedule, step)
        place = above(t, grid)
        t, s = grid.levels[place], grid.levels[place + 1]
        return t, s, gap(t, s)
