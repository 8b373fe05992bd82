"""The terms of the variational bound, which training draws one of and the likelihood adds up."""

import torch
from torch import Tensor

from fromnoise.denoise import Denoiser
from fromnoise.gaussian import Gaussian, Level, like, marginal, step
from fromnoise.parameterize import Prediction
from fromnoise.schedules._base import Chain
from fromnoise.variance import reverse


def prior_kl(denoiser: Denoiser, x0: Tensor, t: Level) -> Tensor:
    """L_T = KL(q(x_T | x_0) | p(x_T)) in nats, [B] (Sedykh eq. 2.39)."""
    prior = denoiser.schedule.prior()
    target = Gaussian(like(prior.mean, x0), like(prior.log_var, x0))
    return marginal(x0, t).kl(target).flatten(1).sum(1)


def step_terms(denoiser: Denoiser, p: Prediction, x0: Tensor, t: Level, s: Level, chain: Chain) -> Tensor:
    """L_t in nats, [B]: the KL of each step, and the decoder's -log p(x_0 | x_1) where s is clean.

    Source: Sedykh eq. 2.40 and 2.41; DDPM eq. 5 and 13.

    Args:
        denoiser: whose reverse variance is taken.
        p: its prediction at x_t.
        x0: the data, [B, ...].
        t, s: levels of the step, [B].
        chain: the one that they are neighbours in.
    """
    model = reverse(p, t, s, denoiser.variance, chain)
    last = like(s.sigma == 0, x0).bool()
    # At s = 0 the true posterior is a point: its KL is not asked for, any variance that has a logarithm will do.
    k = step(t, s)
    log_var = torch.log(torch.where(s.sigma == 0, 1.0, k.variance))
    kl = Gaussian(like(k.from_x_t, x0) * p.x_t + like(k.from_x0, x0) * x0, like(log_var, x0)).kl(model)
    decoder = -model.log_bin(x0) if bool(last.any()) else kl
    return torch.where(last, decoder, kl).flatten(1).sum(1)
