"""A consistency model: from any level to the data in one call."""

import math
from dataclasses import dataclass

import torch

from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level
from fromnoise.parameterizations.students.base import Student
from fromnoise.registry import register
from fromnoise.schedules.base import Chain, Schedule
from fromnoise.schedules.spacings.base import Spacing
from fromnoise.system import checks

MOST = 10_000
"""Levels of a grid."""

_RHO = 7.0


@register("consistency")
@dataclass(frozen=True)
class Consistency(Student):
    """x0hat(x_t, t) = f(x_t, t), the end of the probability-flow path through x_t; f(x_0, 0) = x_0.

    Its levels lie between two noises r = sigma / alpha, where the schedule has them.
    Source: Song et al. 2023 (arXiv 2303.01469), eq. 1 and algorithm 1.

    Args:
        top: r that sampling starts from. Beyond 80 no state of data in [-1, 1] shows its data, and the schedule's last
            level, where r may be infinite, has no neighbours that a consistency loss could compare it with.
        bottom: r of the lowest noisy level of a grid.
        n: levels of the grid that alone it was trained on, so that it walks them and no others; None is every level.

    Raises:
        FromNoiseError: not 0 < bottom < top, or n outside [1, 10,000].
    """

    sampler = "consistency"
    top: float = 80.0
    bottom: float = 0.002
    n: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.bottom < self.top:
            raise FromNoiseError(f"0 < bottom < top is needed, got {self.bottom:g} and {self.top:g}")
        if self.n is not None:
            checks.whole("n", self.n, 1, MOST)

    @property
    def what(self) -> str:
        return "this is a consistency model, whose output is the end of a path and not E[x_0 | x_t]"

    def walks(self, usual: int) -> int:
        return usual if self.n is None else min(usual, self.n)

    def chain(self, schedule: Schedule, steps: int, spacing: str | Spacing = "karras") -> Chain:
        """r^(1/7) even from `top` to, but without, `bottom`, then clean; another spacing is the schedule's own.

        Of a model that knows n levels as evenly many of those.

        Raises:
            FromNoiseError: it knows fewer levels, or is to walk others.
        """
        own = Spacing.of(spacing) == Spacing.of("karras")
        if self.n is not None:
            if not (1 <= steps <= self.n and own):
                raise FromNoiseError(f"steps {steps}, spacing {spacing}: this model was distilled on {self.n} levels, "
                                     "and walks at most so many of them, with its own spacing karras")  # fmt: skip
            kept = [i * self.n // steps for i in range(steps)] + [self.n]
            return Chain(self.grid(schedule, self.n).levels[torch.tensor(kept)])
        if not own:
            return schedule.steps(steps, spacing)
        return self._levels(schedule, steps, steps)

    def grid(self, schedule: Schedule, n: int) -> Chain:
        """n noisy levels, r^(1/7) even from `top` to `bottom` (Karras et al. 2022, eq. 5), and the clean one."""
        return self._levels(schedule, n, max(n - 1, 1))

    def _levels(self, schedule: Schedule, n: int, parts: int) -> Chain:
        checks.whole("steps", n, 1, MOST)
        high, low = self.ends(schedule)
        first, last = high ** (1 / _RHO), low ** (1 / _RHO)
        noise = [(first + i * (last - first) / parts) ** _RHO for i in range(n)]
        return Chain(schedule.at(torch.tensor([*(-2 * math.log(r) for r in noise), math.inf], dtype=torch.float64)))

    def ends(self, schedule: Schedule) -> tuple[float, float]:
        """The largest and the smallest r of a grid."""
        most = math.exp(-schedule.chain[0].log_snr.item() / 2)
        high, least = min(self.top, most), math.exp(-schedule.chain[-2].log_snr.item() / 2)
        return high, min(max(self.bottom, least), high / 2)

    def bounded(self, t: Level, schedule: Schedule) -> Level:
        """The levels themselves, those above `top` moved down to it."""
        high = -2 * math.log(self.ends(schedule)[0])
        return schedule.at(t.log_snr.clamp_min(high)) if bool((t.log_snr < high).any()) else t
