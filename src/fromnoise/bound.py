"""The terms of the variational bound: training samples one of them, the likelihood sums them all."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fromnoise.denoise import Cond, Denoiser, Given
from fromnoise.gaussian import Gaussian, Level, diffuse, family, forward, like, marginal, step
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.schedules.base import Chain
from fromnoise.system import checks, rng
from fromnoise.variances.base import log_small
from fromnoise.variances.optimal import Optimal
from fromnoise.variances.reverse import reverse

Decoder = Callable[[Gaussian, Tensor], Tensor]
"""(p(x_0 | x_1), x_0) -> log-probability of the bin that holds each element of x_0, in nats."""


def prior_kl(denoiser: Denoiser, x0: Tensor, t: Level) -> Tensor:
    """L_T = KL(q(x_T | x_0) | p(x_T)) in nats, [B] (Sedykh eq. 2.39; Weng eq. 24; Friedman eq. 21)."""
    prior = denoiser.schedule.prior(t if not t.alpha.dim() else None)
    target = Gaussian(like(prior.mean, x0), like(prior.log_var, x0))
    return marginal(x0, t).kl(target).flatten(1).sum(1)


def learned_prior(denoiser: Denoiser, x0: Tensor, chain: Chain) -> Tensor | float:
    """L_T in bits/dim if the schedule is learned, else 0.

    Without this term, training would teach a learned schedule to leave no noise at T.
    """
    if not isinstance(denoiser.schedule, nn.Module):
        return 0.0
    return prior_kl(denoiser, x0, chain[0]) / (x0[0].numel() * math.log(2))


def step_terms(
    denoiser: Denoiser,
    p: Prediction,
    x0: Tensor,
    t: Level,
    s: Level,
    chain: Chain,
    decoder: Decoder = Gaussian.log_bin,
) -> Tensor:
    """L_t in nats, [B]: the KL divergence of the step, or -log p(x_0 | x_1) of the decoder where s is clean.

    Source: Ho et al. 2020, arXiv 2006.11239, eq. 5 and 13; Sedykh eq. 2.40-2.41 and 2.81-2.89; Friedman eq. 33 and 35;
    Weng eq. 25-26.

    Args:
        denoiser: the model, whose reverse variance is used.
        p: its prediction at x_t.
        x0: the data, [B, ...].
        t, s: levels of the step, [B].
        chain: the chain in which t and s are neighbours.
        decoder: log-probability of the data's bins at the last step; default: the exact one.
    """
    model = reverse(p, t, s, denoiser.variance, chain)
    # At s = 0 the posterior is a point and its KL is not used: any variance with a finite logarithm will do.
    k = step(t, s)
    log_var = log_small(k, s)
    kl = Gaussian(like(k.from_x_t, x0) * p.x_t + like(k.from_x0, x0) * x0, like(log_var, x0)).kl(model)
    last = s.sigma == 0
    if bool(last.any()):
        nll = -decoder(model, x0)
        kl = torch.where(like(last, x0).bool(), nll, kl) if last.dim() else nll
    return kl.flatten(1).sum(1)


def family_terms(p: Prediction, x0: Tensor, t: Level, s: Level, eta: float) -> Tensor:
    """KL(q_v(x_s | x_t, x_0) | q_v(x_s | x_t, x0hat)) in nats, [B], v = eta^2 beta-tilde: a term of J_sigma.

    This term is for theory only: it shows why DDIM needs no objective of its own. It equals gamma |eps - epshat|^2,
    and gamma does not depend on the model, so the same loss trains every member of the family (Sedykh eq. 4.15-4.18).
    At eta = 1 it is L_t with the small variance.

    Args:
        p: the prediction at x_t.
        x0: the data, [B, ...].
        t, s: levels, [B], s cleaner than t but not the clean level.
        eta: in (0, 1].
    """
    variance = eta**2 * step(t, s).variance
    eps = (p.x_t - like(t.alpha, x0) * x0) / like(t.sigma, x0)
    return family(x0, eps, s, variance).kl(family(p.x0, p.eps, s, variance)).flatten(1).sum(1)


def path_terms(
    denoiser: Denoiser,
    x0: Tensor,
    t: Level,
    noise: Tensor,
    chain: Chain,
    cond: Cond | None = None,
    decoder: Decoder = Gaussian.log_bin,
) -> Tensor:
    """log q(x_s | x_r) - log p(x_s | x_t) in nats, [B], on a path x_r -> x_s -> x_t of neighbours r < s < t.

    Where s is clean, the term is -log p(x_0 | x_1). Its expectation is that of `step_terms` minus
    (D/2) log(b_s / beta-tilde_t), a difference of two entropies that does not depend on the model (Friedman eq. 15-18,
    corrected).

    Args:
        denoiser: the model.
        x0: the data, [B, ...].
        t: levels of the chain, [B].
        noise: three independent draws for each example, [B, 3, ...].
        chain: the chain that t belongs to.
        cond: conditions, each [B, ...].
        decoder: log-probability of the data's bins at the last step; default: the exact one.
    """
    s = chain.below(t)
    inner = s.sigma > 0
    x_t = diffuse(x0, noise[:, 2], t)
    x_s, log_q = x0.clone(), torch.zeros(len(x0), dtype=x0.dtype, device=x0.device)
    if bool(inner.any()):
        s_in, t_in = s[inner], t[inner]
        r_in = chain.below(s_in)
        where = inner.to(x0.device)
        x_r = diffuse(x0[where], noise[where, 0], r_in)
        one = forward(x_r, r_in, s_in)
        x_s[where] = one.sample(noise[where, 1])
        x_t[where] = forward(x_s[where], s_in, t_in).sample(noise[where, 2])
        log_q[where] = one.log_prob(x_s[where]).flatten(1).sum(1)
    model = reverse(denoiser(x_t, t, cond), t, s, denoiser.variance, chain)
    log_p = torch.where(like(inner, x0).bool(), model.log_prob(x_s), decoder(model, x0))
    return log_q - log_p.flatten(1).sum(1)


@torch.no_grad()
def optimal_variance(
    denoiser: Denoiser,
    x0: Tensor,
    chain: Chain | None = None,
    seed: int = 0,
    batch_size: int = 64,
    callback: Callable[[], None] | None = None,
    cond: Given | None = None,
) -> Optimal:
    """The best isotropic variance of a model, measured on data: E |x_0 - x0hat|^2 / D at every level of the chain.

    For an exact denoiser this is E tr Cov[x_0 | x_t] / D. For a trained one it also covers the errors of the predicted
    mean, and therefore minimises every L_t over isotropic variances. Source: Analytic-DPM (Bao et al. 2022), theorem 1.

    Args:
        denoiser: the model; it is in evaluation mode during the call.
        x0: data, [B, ...]; use training images if you then measure the bound on held-out ones.
        chain: the levels to measure at; default: all levels of the schedule. Between them the spread is interpolated,
            so the result can be used with any sub-sequence.
        seed: seed of the noise, which is independent of the noise that the likelihood uses.
        batch_size: examples per network call.
        callback: called after every level of every batch.
        cond: conditions, each [B, ...].
    """
    checks.state("x0", x0, denoiser.shape)
    cond = denoiser.given(cond, len(x0))
    chain = chain or denoiser.schedule.chain
    total = torch.zeros(chain.steps, dtype=torch.float64)
    with denoiser.evaluating():
        for first in range(0, len(x0), batch_size):
            part = x0[first : first + batch_size].to(denoiser.device, denoiser.state_dtype)
            indices, shape = range(first, first + len(part)), tuple(part.shape[1:])
            told = denoiser.placed({k: v[first : first + batch_size] for k, v in cond.items()} if cond else None)
            for i, t in enumerate(list(chain)[:-1]):
                eps = rng.normal(seed, indices, i, shape, rng.Stream.SPREAD, part.dtype)
                error = part - denoiser(diffuse(part, eps.to(part.device), t), t, told).x0
                total[i] += error.cpu().double().square().sum()
                if callback is not None:
                    callback()
    times, values = chain.levels.time[:-1].detach().flip(0), (total / x0.numel()).flip(0)

    def at(t: Level) -> Tensor:
        if len(times) == 1:
            return values[0].expand(t.time.shape)
        above = torch.searchsorted(times, t.time.contiguous()).clamp(1, len(times) - 1)
        share = ((t.time - times[above - 1]) / (times[above] - times[above - 1])).clamp(0, 1)
        return values[above - 1] + share * (values[above] - values[above - 1])

    return Optimal(at)
