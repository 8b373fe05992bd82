"""The reverse step p(x_s | x_t) = N(mean of q(x_s | x_t, x_0 := x0hat), variance), for sampling and likelihood."""

import torch

from fromnoise.gaussian import Gaussian, Level, like, step
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.schedules.base import Chain
from fromnoise.variances.base import Variance, log_small


def reverse(p: Prediction, t: Level, s: Level, variance: Variance, chain: Chain | None = None) -> Gaussian:
    """p(x_s | x_t) = N((a sigma_s^2 / sigma_t^2) x_t + (alpha_s b / sigma_t^2) x0hat, variance).

    With x0hat from eps this is Sedykh eq. 2.11-2.12, 2.72-2.80 and Sedykh Algorithm 2; Friedman eq. 3 and 34; Weng eq.
    15, 21 and 27-28; Notes eq. 4, 11, 13 and 16. The guide of a prediction, if any, is multiplied by the variance and
    added to the mean, which gives p(x_s | x_t) p(y | x_s) to first order (Sedykh eq. 4.20; Dhariwal and Nichol 2021,
    algorithm 1).

    At s = 0 the variance depends on the chain. With one, as for the likelihood, it follows `Chain.first_log_var`;
    without one it is 0, so that a sampler ends on the mean ("z if t > 1").

    Args:
        p: the prediction at x_t.
        t, s: levels, s cleaner than t; scalar or [B].
        variance: the variance of the step.
        chain: the chain in which t and s are neighbours.
    """
    k = step(t, s)
    mean = like(k.from_x_t, p.x_t) * p.x_t + like(k.from_x0, p.x_t) * p.plain_x0
    if bool((s.sigma == 0).all()) and chain is None:
        return Gaussian(mean, like(torch.log(k.variance), p.x_t))
    log_var = variance.log_var(p, k, log_small(k, s, chain))
    if chain is None and s.sigma.dim():  # in a sampler's batch, only some of the steps may lead to the clean level
        log_var = torch.where(like(s.sigma == 0, p.x_t).bool() if log_var.shape == p.x_t.shape else s.sigma == 0,
                              -torch.inf, log_var)  # fmt: skip
    log_var = log_var if log_var.shape == p.x_t.shape else like(log_var, p.x_t)
    if p.guide is not None:
        mean = mean + torch.exp(log_var) * p.guide
    return Gaussian(mean, log_var)
