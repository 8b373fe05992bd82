"""Importance sampling of t: levels with a large loss are drawn more often."""

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level
from fromnoise.registry import register
from fromnoise.schedules.base import Schedule
from fromnoise.times.base import TimeSampling


@register("importance")
class Importance(TimeSampling):
    """t ~ p_t proportional to sqrt(E L_t^2), weight 1 / (T p_t): the same mean loss with less variance.

    E L_t^2 is the mean square of the last `history` losses of row t; until every row has that many, t is uniform. p is
    mixed with the uniform distribution, so that every row continues to be drawn. Source: Nichol and Dhariwal 2021,
    arXiv 2102.09672, eq. 18; Sedykh eq. 4.3; improved DDPM section 3.3 and its code.

    Args:
        history: number of recent losses kept for each row.
        uniform: share of the uniform distribution in the mixture, in [0, 1].
    """

    watches = True

    def __init__(self, history: int = 10, uniform: float = 0.001):
        if history < 1 or not 0 <= uniform <= 1:
            raise FromNoiseError(f"history must be at least 1 and uniform in [0, 1], got {history} and {uniform}")
        self.history, self.uniform = history, uniform
        self.losses, self.counts = torch.zeros(0, history, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)

    def probabilities(self, rows: int) -> Tensor:
        """p_t of the rows t = 1..rows: [rows], float64."""
        self._grow(rows)
        if bool((self.counts < self.history).any()):
            return torch.full((rows,), 1 / rows, dtype=torch.float64)
        size = self.losses.square().mean(1).sqrt()
        total = size.sum()
        p = size / total if total > 0 else torch.full_like(size, 1 / rows)
        return (1 - self.uniform) * p + self.uniform / rows

    def draw(self, u: Tensor, schedule: Schedule) -> tuple[Level, Tensor]:
        rows = schedule.chain.steps
        p = self.probabilities(rows)
        index = torch.searchsorted(torch.cumsum(p, 0), u.double(), right=True).clamp_max(rows - 1)
        return schedule.level((index + 1).double()), 1 / (rows * p[index])

    def observe(self, t: Level, losses: Tensor, schedule: Schedule) -> None:
        self._grow(schedule.chain.steps)
        for row, loss in zip((t.time.long() - 1).tolist(), losses.double().tolist(), strict=True):
            self.losses[row, self.counts[row] % self.history] = loss
            self.counts[row] += 1

    def state(self) -> dict[str, Tensor]:
        return {"losses": self.losses, "counts": self.counts}

    def load(self, state: dict[str, Tensor]) -> None:
        self.losses, self.counts = state["losses"].clone(), state["counts"].clone()

    def _grow(self, rows: int) -> None:
        if len(self.counts) != rows:
            self.losses = torch.zeros(rows, self.history, dtype=torch.float64)
            self.counts = torch.zeros(rows, dtype=torch.int64)
