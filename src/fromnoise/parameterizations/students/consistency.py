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
"""Largest allowed number of levels of a grid."""

_RHO = 7.0


@register("consistency")
@dataclass(frozen=True)
class Consistency(Student):
    """x0hat(x_t, t) = f(x_t, t), the end of the probability-flow path through x_t; f(x_0, 0) = x_0.

    Its levels lie between two values of r = sigma / alpha, as far as the schedule reaches. Source: Song et al. 2023
    (arXiv 2303.01469), eq. 1 and algorithm 1.

    Args:
        top: r at which sampling starts. Beyond r = 80 the states of data in [-1, 1] are indistinguishable from noise.
            The schedule's last level, where r may be infinite, would not do: it has no neighbour for a consistency
            loss to compare it with.
        bottom: r of the cleanest noisy level of a grid.
        n: number of levels if the model was trained on one grid only, and can be sampled at no other levels; default:
            None, any level.

    Raises:
        FromNoiseError: not 0 < bottom < top, or n is outside [1, 10,000].
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
        """The levels to sample with `steps` steps.

        With spacing "karras", r^(1/7) is even from `top` down to `bottom`, which is left out, and the clean level
        follows; other spacings are those of the schedule. A model trained on a grid of n levels uses every so many of
        them.

        Raises:
            FromNoiseError: a model with a grid is asked for more steps than it has levels, or for another spacing.
        """
        own = Spacing.of(spacing) == Spacing.of("karras")
        if self.n is not None:
            if not (1 <= steps <= self.n and own):
                raise FromNoiseError(f"steps {steps}, spacing {spacing}: this model was distilled on {self.n} levels, "
                                     "and takes at most that many steps on them, with spacing karras")  # fmt: skip
            kept = [i * self.n // steps for i in range(steps)] + [self.n]
            return Chain(self.grid(schedule, self.n).levels[torch.tensor(kept)])
        if not own:
            return schedule.steps(steps, spacing)
        return self._levels(schedule, steps, steps)

    def grid(self, schedule: Schedule, n: int) -> Chain:
        """n noisy levels with r^(1/7) even from `top` to `bottom` (Karras et al. 2022, eq. 5), and the clean level."""
        return self._levels(schedule, n, max(n - 1, 1))

    def _levels(self, schedule: Schedule, n: int, parts: int) -> Chain:
        checks.whole("steps", n, 1, MOST)
        high, low = self.ends(schedule)
        first, last = high ** (1 / _RHO), low ** (1 / _RHO)
        noise = [(first + i * (last - first) / parts) ** _RHO for i in range(n)]
        return Chain(schedule.at(torch.tensor([*(-2 * math.log(r) for r in noise), math.inf], dtype=torch.float64)))

    def ends(self, schedule: Schedule) -> tuple[float, float]:
        """The largest and the smallest r of a grid on this schedule."""
        most = math.exp(-schedule.chain[0].log_snr.item() / 2)
        high, least = min(self.top, most), math.exp(-schedule.chain[-2].log_snr.item() / 2)
        return high, min(max(self.bottom, least), high / 2)

    def bounded(self, t: Level, schedule: Schedule) -> Level:
        """The levels t, with those noisier than `top` moved down to it."""
        high = -2 * math.log(self.ends(schedule)[0])
        return schedule.at(t.log_snr.clamp_min(high)) if bool((t.log_snr < high).any()) else t
