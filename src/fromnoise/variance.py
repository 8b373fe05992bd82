"""The variance of the reverse step, and the reverse step itself.

p(x_s | x_t) = N(mean of q(x_s | x_t, x_0 := x0hat), variance), one function for sampling and likelihood.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from fromnoise.errors import unknown
from fromnoise.gaussian import Gaussian, Level, Step, like, step
from fromnoise.parameterize import Prediction
from fromnoise.schedules.base import Chain


class Variance(ABC):
    """The variance of p(x_s | x_t).

    Attributes:
        name: in recipes and files.
        outputs: how many times the image's channels the network puts out.
    """

    name: str
    outputs = 1

    @abstractmethod
    def log_var(self, p: Prediction, k: Step, small: Tensor) -> Tensor:
        """Scalar, [B] (float64) or like p.x_t.

        Args:
            p: the prediction at x_t.
            k: the numbers of the step; k.variance is beta-tilde, 0 for the step to the clean level.
            small: log beta-tilde, for the step to the clean level that of the chain's step before it.
        """


class FixedSmall(Variance):
    """beta-tilde = b sigma_s^2 / sigma_t^2, the posterior's own (Sedykh eq. 2.12, 2.68; Weng eq. 18; Notes eq. 12)."""

    name = "fixed_small"

    def log_var(self, p: Prediction, k: Step, small: Tensor) -> Tensor:
        return small


class FixedLarge(Variance):
    """b, which is beta_t when s = t - 1 and sigma-hat squared on a sub-sequence; at the first step as FixedSmall.

    Source: Sedykh eq. 2.12 and 4.19; Notes eq. 12 and 17.
    """

    name = "fixed_large"

    def log_var(self, p: Prediction, k: Step, small: Tensor) -> Tensor:
        return torch.where(k.variance == 0, small, torch.log(k.b))


class LearnedRange(Variance):
    """exp(f log b + (1 - f) log beta-tilde), the fraction f = (o + 1)/2 from the network's second half o.

    Source: Sedykh eq. 4.1 (where beta-tilde is called learned, and is not) and improved DDPM eq. 15. f is
    not bounded: 0 is beta-tilde, 1 is b.
    """

    name = "learned_range"
    outputs = 2

    def log_var(self, p: Prediction, k: Step, small: Tensor) -> Tensor:
        if p.variance is None:
            raise ValueError("this prediction has no learned variance")
        low, high = like(small, p.x_t), like(torch.log(k.b), p.x_t)
        return low + p.variance * (high - low)


class Optimal(Variance):
    """v* = beta-tilde + c^2 E tr Cov[x_0 | x_t] / D, c the posterior's weight of x_0: the best isotropic variance.

    Source: Analytic-DPM (Bao et al. 2022), theorem 1; it minimises every L_t, the decoder's first step included, and
    with it the bound of Gaussian data is tight up to its prior term (Friedman eq. 37).

    Args:
        spread: t -> E tr Cov[x_0 | x_t] / D at that level, float64, like its alpha; exact for an oracle,
            or the mean squared error of x0hat on data.
    """

    name = "optimal"

    def __init__(self, spread: Callable[[Level], Tensor]):
        self.spread = spread

    def log_var(self, p: Prediction, k: Step, small: Tensor) -> Tensor:
        return torch.log(k.variance + k.from_x0**2 * self.spread(p.t))


VARIANCES: dict[str, type[Variance]] = {cls.name: cls for cls in (FixedSmall, FixedLarge, LearnedRange)}


def variance(name: str | Variance) -> Variance:
    """The object of that name (or the object itself).

    Raises:
        FromNoiseError: an unknown name.
    """
    if isinstance(name, Variance):
        return name
    if name not in VARIANCES:
        raise unknown("variance", name, VARIANCES)
    return VARIANCES[name]()


def log_small(k: Step, s: Level, chain: Chain | None = None) -> Tensor:
    """log beta-tilde of a step; at s = 0, where it is -inf, the chain's first-step rule, or 0 where no chain is given.

    The 0 stands for nothing. The logarithm of a variance of 0 would spoil the gradient of a learned schedule, even
    where it is not used.
    """
    last = s.sigma == 0
    instead = chain.first_log_var if chain is not None else torch.zeros_like(k.variance)
    return torch.where(last, instead, torch.log(torch.where(last, 1.0, k.variance)))


def reverse(p: Prediction, t: Level, s: Level, variance: Variance, chain: Chain | None = None) -> Gaussian:
    """p(x_s | x_t) = N((a sigma_s^2 / sigma_t^2) x_t + (alpha_s b / sigma_t^2) x0hat, variance).

    With x0hat from eps this is Sedykh eq. 2.11-2.12, 2.72-2.80 and Sedykh Algorithm 2; Friedman eq. 3 and 34; Weng eq.
    15, 21 and 27-28; Notes eq. 4, 11, 13 and 16. A prediction with a guide shifts the mean by the variance times it:
    p(x_s | x_t) p(y | x_s) to first order (Sedykh eq. 4.20; Dhariwal and Nichol 2021, algorithm 1).
    At s = 0 the variance is the chain's first-step rule where a chain is given (the likelihood needs it), and 0 where
    none is (a sampler ends on the mean: "z if t > 1").

    Args:
        p: the prediction at x_t.
        t, s: levels, s cleaner than t; scalar or [B].
        variance: which variance.
        chain: the chain that t and s are neighbours in.
    """
    k = step(t, s)
    mean = like(k.from_x_t, p.x_t) * p.x_t + like(k.from_x0, p.x_t) * p.plain_x0
    if bool((s.sigma == 0).all()) and chain is None:
        return Gaussian(mean, like(torch.log(k.variance), p.x_t))
    log_var = variance.log_var(p, k, log_small(k, s, chain))
    if chain is None and s.sigma.dim():  # a sampler's batch may hold steps to the clean level beside others
        log_var = torch.where(like(s.sigma == 0, p.x_t).bool() if log_var.shape == p.x_t.shape else s.sigma == 0,
                              -torch.inf, log_var)  # fmt: skip
    log_var = log_var if log_var.shape == p.x_t.shape else like(log_var, p.x_t)
    if p.guide is not None:
        mean = mean + torch.exp(log_var) * p.guide
    return Gaussian(mean, log_var)
