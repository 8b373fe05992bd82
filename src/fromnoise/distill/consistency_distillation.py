"""Consistency distillation: neighbouring states on a path of the teacher have the same end point."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.distill._pairs import Pairs
from fromnoise.distill.levels import OnGrid, above, euler, ratio, truncated_snr
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, like
from fromnoise.parameterizations.students.consistency import Consistency
from fromnoise.registry import register
from fromnoise.schedules.base import Chain, Schedule
from fromnoise.times.base import TimeSampling


@register("consistency-distillation")
@dataclass(frozen=True, eq=False)
class ConsistencyDistillation(Pairs):
    """L = max(SNR_t, 1) d(f(x_t, t), f(x_s, s)), x_s one step of the teacher's path from x_t, on a grid of n levels.

    Its fixed point is the solver's map of n steps. Source: Song et al. 2023 (arXiv 2303.01469), algorithm 2, but
    without averaged weights for the target, which improved consistency training found to be harmful.

    Args:
        teacher: the denoiser whose paths are learned.
        n: number of levels of the grid; the paper uses 18 for CIFAR-10.
        order: order of the solver's step: 1 is Euler, 2 is Heun, in y = x / alpha as a function of r = sigma / alpha.
        huber: c / sqrt(D) of the distance sqrt(|e|^2 + c^2) - c. The default 0 is the squared error, which suits
            targets without noise.
        top, bottom: r at the two ends of the grid.

    Raises:
        FromNoiseError: n is below 2, or order is neither 1 nor 2.
    """

    teacher: Denoiser
    n: int = 18
    order: Literal[1, 2] = 2
    huber: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n < 2 or self.order not in (1, 2):
            raise FromNoiseError(f"n must be at least 2 and order 1 or 2, got {self.n} and {self.order}")

    @cached_property
    def student(self) -> Consistency:
        return Consistency(self.top, self.bottom, self.n)

    @property
    def times(self) -> TimeSampling:
        """Every noisy level of the grid, equally likely."""
        return OnGrid(self.grid)

    def grid(self, schedule: Schedule) -> Chain:
        """n noisy levels and the clean level."""
        return self.student.grid(schedule, self.n)

    def pair(self, denoiser: Denoiser, t: Level, step: int) -> tuple[Level, Level, Tensor]:
        grid = self.grid(denoiser.schedule)
        place = above(t, grid)
        return grid.levels[place], grid.levels[place + 1], truncated_snr(grid.levels[place])

    def neighbour(self, x0: Tensor, noise: Tensor, x_t: Tensor, t: Level, s: Level, cond: Cond | None) -> Tensor:
        p = self.taught(x_t, t, cond)
        ahead = euler(p, s)
        if self.order == 1:
            return ahead
        q = self.taught(ahead, s, cond)
        half = s.alpha * (ratio(s) - ratio(t)) / 2
        slope = torch.where(like((s.sigma > 0).double(), x_t) > 0, q.eps - p.eps, torch.zeros_like(x_t))
        return ahead + like(half, x_t) * slope
