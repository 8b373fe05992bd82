"""Consistency distillation: neighbours on the teacher's path have one end."""

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

    Its fixed point is the solver's own map of n steps. Source: Song et al. 2023 (arXiv 2303.01469), algorithm 2,
    without the averaged weights of its target, which improved consistency training found to do harm.

    Args:
        teacher: the denoiser whose paths are learned.
        n: levels of the grid; 18 are CIFAR-10's.
        order: of the solver's step: 1 is Euler's, 2 Heun's, in y = x / alpha over r = sigma / alpha.
        huber: c / sqrt(D) of the distance sqrt(|e|^2 + c^2) - c; 0 is the squared error: the targets have no noise.
        top, bottom: r of the grid's ends.

    Raises:
        FromNoiseError: n below 2, or an order other than 1 and 2.
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
        """Every level of the grid equally often."""
        return OnGrid(self.grid)

    def grid(self, schedule: Schedule) -> Chain:
        """n noisy levels and the clean one."""
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
