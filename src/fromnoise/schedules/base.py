"""Base classes of noise schedules, and the descending chain of levels that every sampler follows."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Gaussian, Level, check_levels, step
from fromnoise.schedules.spacings.base import ByNoise, ByTime, Spacing, check_steps
from fromnoise.system import checks

MOST_ROWS = 1_000_000
"""Largest allowed T. More rows would only take memory: samplers may step between rows."""


class Schedule(ABC):
    """t -> (alpha_t, sigma_t): the signal-to-noise ratio falls with t; t = 0 is the data (Weng eq. 12)."""

    T: int
    """Number of steps of `chain`, that is, of its noisy rows."""

    @abstractmethod
    def level(self, t: float | Tensor) -> Level:
        """The level at time t, which may be fractional; scalar or [B].

        Raises:
            FromNoiseError: t is outside the schedule's range.
        """

    @abstractmethod
    def at(self, log_snr: float | Tensor) -> Level:
        """The level with the given log(alpha^2 / sigma^2): the inverse of `level`."""

    @abstractmethod
    def prior(self, t: Level | None = None) -> Gaussian:
        """p(x_T), where sampling starts, with scalar mean and log-variance; p(x_t) for a chain that starts at t."""

    @abstractmethod
    def steps(self, n: int, spacing: str | Spacing = "uniform") -> "Chain":
        """A chain of at most n steps: at most n + 1 descending levels, the last one clean.

        Args:
            n: number of steps, at least 1.
            spacing: how the levels are chosen: a registered name or a Spacing.

        Raises:
            FromNoiseError: n is below 1 or above the number of rows, or the spacing is unknown.
        """

    @property
    @abstractmethod
    def chain(self) -> "Chain":
        """The levels that the bound is summed over."""

    @abstractmethod
    def draw(self, u: Tensor) -> Level:
        """Training levels for uniform u in [0, 1): [B], with every time of the schedule equally likely."""

    @abstractmethod
    def network_time(self, t: Level) -> Tensor:
        """The time argument that a network gets for level t, float32: [B] or scalar."""


def centred(log_var: Tensor) -> Gaussian:
    """N(0, exp(log_var))."""
    return Gaussian(torch.zeros_like(log_var), log_var)


class Discrete(Schedule):
    """A chain of T steps, stored as T + 1 rows: t = 0 is clean, and t = 1..T count the steps as in the papers.

    Subclasses pass alpha_t and sigma_t for t = 1..T. Between two rows the log-SNR is linear in t, and
    alpha^2 + sigma^2 is log-linear; below row 1 the SNR is SNR_1 / t. The rows are float64 and stay on the CPU, even
    under `torch.device("meta")`.

    Args:
        alpha, sigma: alpha_t and sigma_t for t = 1..T, [T].

    Raises:
        FromNoiseError: the signal-to-noise ratio does not fall strictly.
    """

    def __init__(self, alpha: Tensor, sigma: Tensor):
        clean = torch.tensor([1.0, 0.0], dtype=torch.float64, device="cpu")
        self.alpha = torch.cat([clean[:1], alpha.double().cpu()])
        self.sigma = torch.cat([clean[1:], sigma.double().cpu()])
        self.T = len(self.alpha) - 1
        snr = self.log_snr
        if self.T < 1 or not bool((snr[1:] < snr[:-1]).all()):
            raise FromNoiseError("the signal-to-noise ratio must fall strictly from row to row")

    @cached_property
    def chain(self) -> "Chain":
        """The chain of all rows, from T down to 0."""
        return self.steps(self.T)

    @classmethod
    def betas(cls, beta: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t = sqrt(abar_t), sigma_t = sqrt(1 - abar_t), abar_t = prod (1 - beta_i), i = 1..t.

        Source: Ho et al. 2020, arXiv 2006.11239, eq. 4; Sedykh eq. 2.9 (whose product starts at 0); Weng eq. 3 and 6;
        Notes eq. 3, 10 and 19.
        """
        log_alpha_bar = torch.cumsum(torch.log1p(-beta.double()), 0)
        return torch.exp(log_alpha_bar / 2), torch.sqrt(-torch.expm1(log_alpha_bar))

    @cached_property
    def log_snr(self) -> Tensor:
        return 2 * (torch.log(self.alpha) - torch.log(self.sigma))

    @cached_property
    def _log_scale(self) -> Tensor:
        return torch.log(self.alpha**2 + self.sigma**2)

    def level(self, t: float | Tensor) -> Level:
        time = torch.as_tensor(t, dtype=torch.float64, device="cpu")
        if not checks.holds((time >= 0) & (time <= self.T)):
            raise FromNoiseError(f"t must lie in [0, {self.T}], got {t}")
        row = time.floor().long().clamp_max(self.T)
        alpha, sigma = self.alpha[row], self.sigma[row]
        fraction = time - row
        if not torch.compiler.is_exporting() and not bool(fraction.any()):
            return Level(time, alpha, sigma)
        after = (row + 1).clamp_max(self.T)
        inside = self.log_snr[row] + fraction * (self.log_snr[after] - self.log_snr[row])
        near_clean = self.log_snr[1] - torch.log(time)
        between = self._from(
            torch.where(row == 0, near_clean, inside),
            self._log_scale[row] + fraction * (self._log_scale[after] - self._log_scale[row]),
        )
        exact = fraction == 0
        return Level(time, torch.where(exact, alpha, between[0]), torch.where(exact, sigma, between[1]))

    def at(self, log_snr: float | Tensor) -> Level:
        """The level with the given log-SNR: the inverse of `level`.

        Raises:
            FromNoiseError: the log-SNR is below that of t = T.
        """
        wanted = torch.as_tensor(log_snr, dtype=torch.float64, device="cpu")
        lowest = self.log_snr[-1]
        if not bool((wanted >= lowest - 1e-9 * lowest.abs()).all()):
            raise FromNoiseError(f"the schedule's log-SNR ends at {lowest.item():.6g}, got {log_snr}")
        rising = self.log_snr[1:].flip(0)
        above = torch.searchsorted(rising, wanted.contiguous(), right=True)  # rows with log-SNR <= wanted
        row = (self.T - above).clamp_max(self.T - 1)  # wanted lies between row and row + 1
        inside = row + (self.log_snr[row] - wanted) / (self.log_snr[row] - self.log_snr[row + 1])
        near_clean = torch.exp(self.log_snr[1] - wanted)
        time = torch.where(wanted == lowest, float(self.T), torch.where(row == 0, near_clean, inside)).clamp(0, self.T)
        return self.level(torch.where(torch.isposinf(wanted), torch.zeros_like(time), time))

    @staticmethod
    def _from(log_snr: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        scale = torch.exp(log_scale / 2)
        return scale * torch.sigmoid(log_snr).sqrt(), scale * torch.sigmoid(-log_snr).sqrt()

    def prior(self, t: Level | None = None) -> Gaussian:
        """N(0, I), close to q(x_T) if sum beta is large (Sedykh eq. 4.8 and 4.12; Weng eq. 5; Friedman eq. 7)."""
        return centred(torch.zeros((), dtype=torch.float64, device="cpu"))

    whole: ClassVar[bool] = True
    """Whether only the rows can be used, so that a spacing by time returns at most T whole numbers."""

    def steps(self, n: int, spacing: str | Spacing = "uniform") -> "Chain":
        chosen = Spacing.of(spacing)
        check_steps(n, self.T, self.whole)
        return self._ladder(n, chosen) if isinstance(chosen, ByNoise) else chain_of_times(self, n, chosen, self.whole)

    def _ladder(self, n: int, spacing: ByNoise) -> "Chain":
        """A chain by log-SNR, whose levels may lie between rows."""
        high, low = self.log_snr[1].item(), self.log_snr[-1].item()
        if math.isfinite(low):
            grid = spacing.log_snrs(n, high, low)
        else:  # no signal at T: that level first, then the ladder from the next row
            grid = [low, *spacing.log_snrs(n - 1, high, self.log_snr[-2].item())]
        return Chain(self.at(torch.tensor([*grid, torch.inf], dtype=torch.float64, device="cpu")))

    def draw(self, u: Tensor) -> Level:
        return self.level(1 + torch.floor(u.double() * self.T).clamp_max(self.T - 1))

    def network_time(self, t: Level) -> Tensor:
        """(t - 1) 1000 / T: DDPM's t - 1 for T = 1000, and improved DDPM's rescaled time for other T."""
        return ((t.time - 1) * (1000 / self.T)).float()


def chain_of_times(schedule: Schedule, n: int, spacing: ByTime, whole: bool) -> "Chain":
    """The chain of the levels that a spacing by time selects, and the clean level."""
    times = sorted(set(spacing.times(n, schedule.T, whole)), reverse=True)
    return Chain(schedule.level(torch.tensor([*times, 0], dtype=torch.float64, device="cpu")))


class Chain(Sequence[Level]):
    """Strictly descending levels, the last one clean: the steps of a sampler and of the bound (Friedman eq. 1).

    A chain is a sequence of scalar levels, noisiest first; its attribute `levels` holds them as one batch.

    Args:
        levels: the levels as a batch, [n + 1].
        clean: whether the last level must have sigma = 0; False only for chains cut short by `until`.

    Raises:
        FromNoiseError: the levels do not descend strictly, or do not end clean.
    """

    def __init__(self, levels: Level, clean: bool = True):
        if not bool((levels.log_snr[1:] > levels.log_snr[:-1]).all()) or (clean and not levels[-1].is_clean):
            raise FromNoiseError("a chain descends strictly and ends clean")
        self.levels = levels

    def __len__(self) -> int:
        return len(self.levels.time)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int) and not -len(self) <= index < len(self):
            raise IndexError(index)  # ends iteration
        return self.levels[index]

    @property
    def steps(self) -> int:
        """Number of steps, one less than the number of levels."""
        return len(self) - 1

    def pairs(self) -> Iterator[tuple[Level, Level]]:
        """Yield (t, s) for every step, noisiest first."""
        return pairwise(self)

    def until(self, t: Level) -> "Chain":
        """The part of the chain that ends at t: the levels noisier than t, then t itself.

        Raises:
            FromNoiseError: the chain has no level noisier than t.
        """
        check_levels(t=t)
        n = int((self.levels.log_snr < t.log_snr).sum())
        if n == 0:
            raise FromNoiseError("the chain starts below that level")
        above = self.levels[:n]
        joined = (
            torch.cat([a, b[None]]) for a, b in ((above.time, t.time), (above.alpha, t.alpha), (above.sigma, t.sigma))
        )
        return Chain(Level(*joined), clean=t.is_clean)

    def below(self, t: Level) -> Level:
        """For each t, the next cleaner level of the chain.

        Raises:
            FromNoiseError: t is not a level of the chain, or is its clean end.
        """
        return self._neighbour(t, 1)

    def above(self, t: Level) -> Level:
        """For each t, the next noisier level of the chain.

        Raises:
            FromNoiseError: t is not a level of the chain, or is its noisiest level.
        """
        return self._neighbour(t, -1)

    def _neighbour(self, t: Level, offset: int) -> Level:
        check_levels(t=t)
        falling = self.levels.time
        index = torch.searchsorted(-falling, -t.time.contiguous()).clamp_max(self.steps)
        if not bool((falling[index] == t.time).all()):
            raise FromNoiseError("not a level of this chain")
        index = index + offset
        if not bool(((index >= 0) & (index < len(self))).all()):
            raise FromNoiseError("the chain ends here")
        return self.levels[index]

    @cached_property
    def first_log_var(self) -> Tensor:
        """log beta-tilde_2, used instead of log beta-tilde_1 = -inf: a float64 scalar.

        The reference code does the same for fixed small, fixed large and learned variances (Sedykh eq. 4.1). A chain
        of one step has no beta-tilde_2 and uses log beta_1.
        """
        if self.steps == 1:
            return torch.log(step(self[0], self[1]).b)
        return torch.log(step(self[-3], self[-2]).variance)
