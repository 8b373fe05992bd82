"""A learned schedule: a monotone network computes the log-SNR (VDM)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Gaussian, Level
from fromnoise.registry import register
from fromnoise.schedules.base import MOST_ROWS, Chain, Schedule, centred, chain_of_times
from fromnoise.schedules.spacings.base import ByNoise, Spacing, check_steps
from fromnoise.system import checks


@register("learned")
class Learned(nn.Module, Schedule):
    """log_snr(t) = top - (top - bottom) (g(u) - g(0)) / (g(1) - g(0)),  u = (t - 1)/(T - 1),

    alpha^2 = sigmoid(log_snr), sigma^2 = sigmoid(-log_snr), and
    g(u) = l_1(u) + l_3(sigmoid(l_2(l_1(u)))) with positive weights, so that the SNR always falls. Both ends are learned
    too. Source: Kingma et al. 2021 (VDM), appendix H.

    The levels are differentiable. Only objectives that estimate the whole bound, including its prior term, train them:
    "vlb" and "two-draw". All others refuse a learned schedule, which could lower their loss by making the task easier.

    Args:
        T: number of rows of the chain.
        top, bottom: initial log-SNR of the first and the last row.
        width: width of the hidden layer.
    """

    def __init__(self, T: int = 1000, top: float = 13.3, bottom: float = -5.0, width: int = 1024):
        T, width = checks.whole("T", T, 1, MOST_ROWS), checks.whole("width", width, 1, MOST_ROWS)
        if T < 2 or top <= bottom or width < 1:
            raise FromNoiseError(
                f"T of at least 2, top above bottom and a width are needed, got {T}, {top}, {bottom}, {width}"
            )
        super().__init__()
        self.T = T
        like = {"dtype": torch.float64, "device": "cpu"}
        # The weights are the softplus of these. l_1 starts as u and l_3 small, so the log-SNR starts nearly linear.
        self.slope = nn.Parameter(torch.tensor(_inverse_softplus(1.0), **like))
        self.inner = nn.Parameter(torch.linspace(0.0, 4.0, width, **like))
        self.bias = nn.Parameter(torch.linspace(-4.0, 0.0, width, **like))
        self.outer = nn.Parameter(torch.full((width,), _inverse_softplus(1e-3), **like))
        self.bottom = nn.Parameter(torch.tensor(bottom, **like))
        self.height = nn.Parameter(torch.tensor(_inverse_softplus(top - bottom), **like))

    def _apply(self, fn: Any, recurse: bool = True) -> "Learned":  # pyrefly: ignore[bad-override]
        """Do nothing: levels stay float64 on the CPU wherever the denoiser is moved or cast."""
        return self

    def _g(self, u: Tensor) -> Tensor:
        first = F.softplus(self.slope) * u
        hidden = torch.sigmoid(first[..., None] * F.softplus(self.inner) + self.bias)
        return first + hidden @ F.softplus(self.outer)

    def log_snr(self, time: Tensor) -> Tensor:
        """The log-SNR at times in [1, T], differentiable: [...] -> [...]."""
        ends = self._g(torch.tensor([0.0, 1.0], dtype=torch.float64, device="cpu"))
        share = (self._g((time - 1) / (self.T - 1)) - ends[0]) / (ends[1] - ends[0])
        return self.bottom + F.softplus(self.height) * (1 - share)

    def level(self, t: float | Tensor) -> Level:
        time = torch.as_tensor(t, dtype=torch.float64, device="cpu")
        if not checks.holds((time >= 0) & (time <= self.T)):
            raise FromNoiseError(f"t must lie in [0, {self.T}], got {t}")
        # Below the first row the SNR is SNR_1 / t, as in every chain; log(0) must not reach the gradient.
        near = -torch.log(torch.where(time > 0, time, 1.0).clamp_max(1.0))
        snr = self.log_snr(time.clamp_min(1.0)) + near
        clean = time == 0
        return Level(
            time,
            torch.where(clean, 1.0, torch.sigmoid(snr).sqrt()),
            torch.where(clean, 0.0, torch.sigmoid(-snr).sqrt()),
        )

    @torch.no_grad()
    def at(self, log_snr: float | Tensor) -> Level:
        """The level with the given log-SNR, found by bisection and without gradients: the inverse of `level`.

        Raises:
            FromNoiseError: the log-SNR is below that of t = T.
        """
        wanted = torch.as_tensor(log_snr, dtype=torch.float64, device="cpu")
        top, bottom = self.log_snr(torch.tensor([1.0, self.T], dtype=torch.float64, device="cpu"))
        if not bool((wanted >= bottom - 1e-9 * bottom.abs()).all()):
            raise FromNoiseError(f"the schedule's log-SNR ends at {bottom.item():.6g}, got {log_snr}")
        low, high = torch.ones_like(wanted), torch.full_like(wanted, self.T)
        for _ in range(60):
            middle = (low + high) / 2
            above = self.log_snr(middle) > wanted
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        near = torch.exp(top - wanted)
        return self.level(torch.where(wanted > top, near, high))

    def prior(self, t: Level | None = None) -> Gaussian:
        return centred(torch.zeros((), dtype=torch.float64, device="cpu"))

    def steps(self, n: int, spacing: str | Spacing = "uniform") -> Chain:
        chosen = Spacing.of(spacing)
        check_steps(n, self.T, whole=False)
        if isinstance(chosen, ByNoise):
            high, low = self.log_snr(torch.tensor([1.0, self.T], dtype=torch.float64, device="cpu")).tolist()
            grid = chosen.log_snrs(n, high, low)
            return Chain(self.at(torch.tensor([*grid, torch.inf], dtype=torch.float64, device="cpu")))
        return chain_of_times(self, n, chosen, whole=False)

    @property
    def chain(self) -> Chain:
        """The chain of all rows, from T down to 0, for the current parameters."""
        return self.steps(self.T)

    def draw(self, u: Tensor) -> Level:
        return self.level(1 + torch.floor(u.double() * self.T).clamp_max(self.T - 1))

    def network_time(self, t: Level) -> Tensor:
        """1000 (top - log_snr) / (top - bottom): the network is conditioned on the level, not on the row."""
        top, bottom = self.log_snr(torch.tensor([1.0, self.T], dtype=torch.float64, device="cpu"))
        snr = torch.where(t.sigma > 0, t.log_snr, top)
        return (1000 * (top - snr) / (top - bottom)).float()


def _inverse_softplus(x: float) -> float:
    return math.log(math.expm1(x)) if x < 30 else x
