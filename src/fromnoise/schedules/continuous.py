"""Schedules given by a formula for every time, not only for whole rows."""

from abc import abstractmethod

import torch
from torch import Tensor

from fromnoise.gaussian import Level
from fromnoise.schedules.base import MOST_ROWS, Discrete
from fromnoise.system import checks


class Continuous(Discrete):
    """A path (alpha, sigma)(t) for t in [first, T]; its rows t = 1..T are the chain that the bound sums over.

    T only sets how finely that chain divides the path: samplers may take any number of steps, also between rows. Below
    `first` the SNR is that of `first` times first / t, so t = 0 is clean.

    Args:
        T: number of rows, at least 1.
    """

    first = 1.0
    whole = False

    def __init__(self, T: int):
        T = checks.whole("T", T, 1, MOST_ROWS)
        super().__init__(*self.path(torch.arange(1, T + 1, dtype=torch.float64, device="cpu"), T))

    @abstractmethod
    def path(self, time: Tensor, T: int) -> tuple[Tensor, Tensor]:
        """alpha and sigma at times in [first, T], float64."""

    @abstractmethod
    def time(self, log_snr: Tensor) -> Tensor:
        """The time in [first, T] with the given log-SNR."""

    def level(self, t: float | Tensor) -> Level:
        near = super().level(t)
        alpha, sigma = self.path(near.time.clamp_min(self.first), self.T)
        exact = (near.time >= self.first) & (near.time > 0)
        return Level(near.time, torch.where(exact, alpha, near.alpha), torch.where(exact, sigma, near.sigma))

    def at(self, log_snr: float | Tensor) -> Level:
        near = super().at(log_snr)
        wanted = torch.as_tensor(log_snr, dtype=torch.float64, device="cpu")
        inside = (wanted <= self.log_snr[1]) if self.first else torch.isfinite(wanted)
        time = self.time(torch.where(inside, wanted, self.log_snr[1])).clamp(self.first, self.T)
        return self.level(torch.where(inside, time, near.time))
