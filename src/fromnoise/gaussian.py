"""Noise levels, and the Gaussian distributions that connect them.

q(x_t | x_0) = N(alpha_t x_0, sigma_t^2 I). For two levels s < t, with a = alpha_t / alpha_s and
b = sigma_t^2 - a^2 sigma_s^2,

    q(x_t | x_s)      = N(a x_s, b I)
    q(x_s | x_t, x_0) = N((a sigma_s^2 / sigma_t^2) x_t + (alpha_s b / sigma_t^2) x_0, (b sigma_s^2 / sigma_t^2) I)

For s = t - 1 these are DDPM's q(x_t | x_{t-1}) with b = beta_t, and its posterior with variance beta-tilde_t.
Coefficients are float64 and are cast only once, to the type of the state.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.system import checks


@dataclass(frozen=True)
class Level:
    """One noise level or a batch of them: x_t = alpha x_0 + sigma eps.

    Attributes:
        time: the schedule's own time coordinate, which only the schedule can interpret.
        alpha, sigma: float64 tensors on the CPU, scalar or [B].
        log_snr: log(alpha^2 / sigma^2), +inf at the clean level.
    """

    time: Tensor
    alpha: Tensor
    sigma: Tensor

    @property
    def log_snr(self) -> Tensor:
        """log(alpha^2 / sigma^2) (Notes eq. 20)."""
        # Not cached for a learned schedule: a value first computed without gradients would never have any.
        return _log_snr(self) if self.alpha.requires_grad else self._kept_log_snr

    @cached_property
    def _kept_log_snr(self) -> Tensor:
        return _log_snr(self)

    @property
    def is_clean(self) -> bool:
        """Whether sigma = 0 at every level, so that the state is the data."""
        return not bool(self.sigma.any())

    def __getitem__(self, index: int | slice | Tensor) -> "Level":
        return Level(self.time[index], self.alpha[index], self.sigma[index])

    def expand(self, n: int) -> "Level":
        """The same level for each of n examples: [n]."""
        return Level(self.time.expand(n), self.alpha.expand(n), self.sigma.expand(n))


def check_levels(**levels: Level) -> None:
    """Check that every argument is a Level and not a time, which only a schedule can interpret.

    Raises:
        FromNoiseError: an argument is not a Level.
    """
    for name, level in levels.items():
        if not isinstance(level, Level):
            number = isinstance(level, int | float)
            got = "" if number else f", got {checks.shown(level)}"
            raise FromNoiseError(f"{name} must be a Level: schedule.level({level if number else name}){got}")


def _log_snr(t: Level) -> Tensor:
    return 2 * (torch.log(t.alpha) - torch.log(t.sigma))


@dataclass(frozen=True)
class Gaussian:
    """N(mean, exp(log_var)), independent in every element; `log_var` broadcasts against `mean`."""

    mean: Tensor
    log_var: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """mean + exp(log_var / 2) noise, with `noise` standard normal of the mean's shape (Sedykh eq. 2.4-2.5)."""
        return self.mean + torch.exp(self.log_var / 2) * noise

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; mean, var) in nats, element by element: a density, which may exceed 1 (Sedykh eq. 2.1)."""
        return -((x - self.mean) ** 2 * torch.exp(-self.log_var) + self.log_var + math.log(2 * math.pi)) / 2

    def log_bin(self, x: Tensor, half: float = 1 / 255) -> Tensor:
        """log of the probability of [x - half, x + half], in nats, element by element; the end bins reach to infinity.

        This is the decoder p(x_0 | x_1) of 8-bit images scaled to [-1, 1] (Sedykh eq. 2.95-2.97): 256 bins that cover
        the real line. It is accurate in the tails, because Phi is differenced on the side where nothing cancels.
        """
        scale = torch.exp(-self.log_var / 2)
        upper, lower = (x - self.mean + half) * scale, (x - self.mean - half) * scale
        upper = torch.where(x > 1 - half, torch.inf, upper)
        lower = torch.where(x < -1 + half, -torch.inf, lower)
        flip = lower > 0  # by symmetry, compute an upper tail as the lower one
        upper, lower = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
        high, low = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
        gap = low - high
        rest = torch.where(gap > -0.5, torch.log(-torch.expm1(gap)), torch.log1p(-torch.exp(gap)))  # log(1 - exp(gap))
        return high + rest

    def log_bin_tanh(self, x: Tensor, half: float = 1 / 255) -> Tensor:
        """`log_bin` with Phi(z) ~ (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))/2 and masses of at least 1e-12.

        This is what the reference code of DDPM and improved DDPM computes; use it to compare with their figures. The
        approximation of Phi is off by up to 2e-4, and far tails are cut off.
        """
        scale = torch.exp(-self.log_var / 2)
        upper, lower = _tanh_phi((x - self.mean + half) * scale), _tanh_phi((x - self.mean - half) * scale)
        mass = torch.where(x < -0.999, upper, torch.where(x > 0.999, 1 - lower, upper - lower))
        return torch.log(mass.clamp_min(1e-12))

    def kl(self, other: "Gaussian") -> Tensor:
        """KL(self | other) in nats, element by element (Sedykh eq. 2.82-2.86; Friedman eq. 32)."""
        ratio = self.log_var - other.log_var
        square = (self.mean - other.mean) ** 2 * torch.exp(-other.log_var)
        return (torch.expm1(ratio) - ratio + square) / 2


def _tanh_phi(z: Tensor) -> Tensor:
    return (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))) / 2


class Step(NamedTuple):
    """The coefficients of one step between levels s < t, float64.

    Attributes:
        a, b: q(x_t | x_s) = N(a x_s, b I).
        from_x_t, from_x0, variance: q(x_s | x_t, x_0) = N(from_x_t x_t + from_x0 x_0, variance I).
    """

    a: Tensor
    b: Tensor
    from_x_t: Tensor
    from_x0: Tensor
    variance: Tensor


def step(t: Level, s: Level) -> Step:
    """a = alpha_t / alpha_s, b = -sigma_t^2 expm1(log_snr_t - log_snr_s), and the posterior's coefficients.

    This form of b = sigma_t^2 - a^2 sigma_s^2 avoids cancellation. Two steps (a, b) and (a', b') compose to
    (a a', a'^2 b + b') (Sedykh eq. 2.6-2.8, Sedykh Appendix A, Weng eq. 9-11). The posterior's coefficients follow from
    completing the square: Sedykh eq. 2.46-2.67 and 2.68; Friedman eq. 24-25 and 28-30 (a_t, b_t and kappa_t^2,
    corrected); Weng eq. 18-19.

    Raises:
        FromNoiseError: s is not cleaner than t, or an argument is not a Level.
    """
    check_levels(t=t, s=s)
    if not checks.holds(s.log_snr > t.log_snr):
        raise FromNoiseError("a step needs s < t: the first level must be the noisier one")
    a = t.alpha / s.alpha
    share = -torch.expm1(t.log_snr - s.log_snr)  # b / sigma_t^2, exactly 1 at s = 0
    keep = (s.sigma / t.sigma) ** 2
    return Step(a, share * t.sigma**2, a * keep, s.alpha * share, share * s.sigma**2)


def marginal(x0: Tensor, t: Level) -> Gaussian:
    """q(x_t | x_0) = N(alpha_t x_0, sigma_t^2 I) (Sedykh eq. 2.10; Friedman eq. 10; Weng eq. 8)."""
    check_levels(t=t)
    checks.floats(x0=x0)
    return Gaussian(like(t.alpha, x0) * x0, like(2 * torch.log(t.sigma), x0))


def forward(x_s: Tensor, s: Level, t: Level) -> Gaussian:
    """q(x_t | x_s) = N(a x_s, b I), s < t; for s = t - 1 this is the forward step with b = beta_t.

    Source: Ho et al. 2020, arXiv 2006.11239, eq. 2; Sedykh eq. 2.2-2.5; Friedman eq. 2, 8 and 14; Weng eq. 2 and 4;
    Notes eq. 1 and 8.
    """
    k = step(t, s)
    checks.floats(x_s=x_s)
    return Gaussian(like(k.a, x_s) * x_s, like(torch.log(k.b), x_s))


def posterior(x0: Tensor, x_t: Tensor, t: Level, s: Level) -> Gaussian:
    """q(x_s | x_t, x_0), s < t, by Bayes' rule; log_var is -inf at s = 0.

    Source: Ho et al. 2020, arXiv 2006.11239, eq. 6-7; Sedykh eq. 2.42-2.69 (with errors in 2.53-2.67); Friedman eq.
    19-20, 22-23, 26-27 and 31; Weng eq. 16-17 and 19.
    """
    k = step(t, s)
    checks.floats(x0=x0, x_t=x_t)
    return Gaussian(like(k.from_x_t, x_t) * x_t + like(k.from_x0, x_t) * x0, like(torch.log(k.variance), x_t))


def family(x0: Tensor, eps: Tensor, s: Level, variance: Tensor) -> Gaussian:
    """q_v(x_s | x_t, x_0) = N(alpha_s x_0 + sqrt(sigma_s^2 - v) eps, v I), eps = (x_t - alpha_t x_0) / sigma_t.

    DDIM's family: for every v in [0, sigma_s^2] the marginals are those of DDPM, and at v = beta-tilde it is the
    posterior. Source: Song et al. 2020, arXiv 2010.02502, eq. 7; Sedykh eq. 4.7-4.9 (whose alpha is alpha_bar).

    Args:
        x0, eps: the data and the noise in x_t, [B, ...].
        s: the cleaner level.
        variance: v, float64, scalar or [B].
    """
    keep = torch.sqrt(s.sigma**2 - variance)
    return Gaussian(like(s.alpha, x0) * x0 + like(keep, eps) * eps, like(torch.log(variance), x0))


def family_forward(x0: Tensor, x_s: Tensor, s: Level, t: Level, variance: Tensor) -> Gaussian:
    """q_v(x_t | x_s, x_0) from `family` by Bayes' rule: DDIM's forward step, which depends on x_0 (Sedykh eq. 4.10).

    This is for theory only: no sampler steps forward. With k = sqrt(sigma_s^2 - v) / sigma_t, the precision is
    k^2/v + 1/sigma_t^2. At v = beta-tilde, x_0 drops out and the result is q(x_t | x_s).
    """
    k = torch.sqrt(s.sigma**2 - variance) / t.sigma
    precision = k**2 / variance + 1 / t.sigma**2
    of_x_s = k / variance / precision
    of_x0 = (t.alpha / t.sigma**2 - k / variance * (s.alpha - k * t.alpha)) / precision
    return Gaussian(like(of_x_s, x_s) * x_s + like(of_x0, x0) * x0, like(-torch.log(precision), x_s))


def diffuse(x0: Tensor, noise: Tensor, t: Level) -> Tensor:
    """x_t = alpha_t x_0 + sigma_t eps, with the coefficients broadcast over the axes of each example.

    Source: Ho et al. 2020, arXiv 2006.11239, eq. 4; Sedykh eq. 2.9; Friedman eq. 9; Weng eq. 7, 20 and 29; Notes eq. 2
    and 9; Shorts eq. 1 (without the axes).
    """
    check_levels(t=t)
    checks.floats(x0=x0, noise=noise)
    return like(t.alpha, x0) * x0 + like(t.sigma, x0) * noise


def like(coefficient: Tensor, x: Tensor) -> Tensor:
    """A float64 coefficient cast to the type of x and shaped to multiply it: [B] -> [B, 1, ...], on the device of x.

    A scalar stays on the CPU: it reaches a GPU as an argument of the operation, without a copy.
    """
    if not coefficient.dim():
        return coefficient.to(x.dtype)
    return coefficient.to(x.dtype).to(x.device, non_blocking=True).view((-1,) + (1,) * (x.dim() - 1))
