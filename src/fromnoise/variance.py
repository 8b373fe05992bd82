"""The variance of the reverse step, and the reverse step itself.

p(x_s | x_t) = N(mean of q(x_s | x_t, x_0 := x0hat), variance), one function for sampling and likelihood.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from fromnoise.errors import unknown
from fromnoise.gaussian import Gaussian, Level, Step, like, step
from fromnoise.parameterize import Prediction
from fromnoise.schedules._base import Chain


class Variance(ABC):
    """log of the variance of p(x_s | x_t), before the chain's first-step rule."""

    name: str

    @abstractmethod
    def log_var(self, p: Prediction, k: Step) -> Tensor:
        """float64 coefficients or a tensor like p.x_t; k holds the numbers of the step."""

    def first_log_var(self, chain: Chain, k: Step) -> float:
        """What stands at the chain's last step, to the clean level, where beta-tilde is 0."""
        return chain.first_log_var


class FixedSmall(Variance):
    """beta-tilde = b sigma_s^2 / sigma_t^2, the posterior's own (Sedykh eq. 2.68; Weng)."""

    name = "fixed_small"

    def log_var(self, p: Prediction, k: Step) -> Tensor:
        return torch.log(k.variance)


class FixedLarge(Variance):
    """b, which is beta_t when s = t - 1 (Sedykh 2.2; sigma-hat squared of 4.2)."""

    name = "fixed_large"

    def log_var(self, p: Prediction, k: Step) -> Tensor:
        return torch.log(k.b)


VARIANCES: dict[str, type[Variance]] = {cls.name: cls for cls in (FixedSmall, FixedLarge)}


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


def reverse(p: Prediction, t: Level, s: Level, variance: Variance, chain: Chain | None = None) -> Gaussian:
    """p(x_s | x_t) = N((a sigma_s^2 / sigma_t^2) x_t + (alpha_s b / sigma_t^2) x0hat, variance).

    With x0hat from eps this is Sedykh eq. 2.80 and Algorithm 2. At s = 0 the variance is the chain's
    first-step rule where a chain is given (the likelihood needs it), and 0 where none is (a sampler ends
    on the mean: "z if t > 1").

    Args:
        p: the prediction at x_t.
        t, s: levels, s cleaner than t; scalar or [B].
        variance: which variance.
        chain: the chain that t and s are neighbours in.
    """
    k = step(t, s)
    mean = like(k.from_x_t, p.x_t) * p.x_t + like(k.from_x0, p.x_t) * p.x0
    log_var = like(variance.log_var(p, k), p.x_t)
    first = like(s.sigma == 0, p.x_t)
    if bool(first.any()):
        at_first = -float("inf") if chain is None else variance.first_log_var(chain, k)
        log_var = torch.where(first.bool(), torch.full_like(log_var, at_first), log_var)
    return Gaussian(mean, log_var)
