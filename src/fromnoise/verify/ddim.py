"""DDIM and its family of processes."""

import math
from itertools import pairwise

import torch

from fromnoise.bound import family_terms, step_terms
from fromnoise.gaussian import diffuse, family, family_forward, marginal, posterior, step
from fromnoise.oracle import GaussianMixture
from fromnoise.samplers.ancestral import Ancestral
from fromnoise.samplers.ddim import DDIM
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import BAR, BETA, COSINE, LINEAR, line, normal
from fromnoise.verify.samplers import ONE, gains


@check("Sedykh eq. 4.7-4.9")
def ddim_family_has_ddpms_marginals() -> Sides:
    """for every eta: x_t ~ q(x_t | x_0) and a step with the true x_0 give x_s ~ N(sqrt(abar_s) x_0, 1 - abar_s)"""
    t, s, x0 = LINEAR.level(400), LINEAR.level(250), 0.7
    truth = GaussianMixture(torch.ones(1), torch.full((1, 1), x0, dtype=torch.float64), torch.zeros(1, 1, 1)).denoiser(
        LINEAR
    )
    theory, practice = [], []
    for eta in (0.0, 0.3, 1.0):
        mean, _ = DDIM(eta).step(truth, ONE * t.alpha * 0.7, t, s, None, lambda: 0 * ONE, None)
        ahead, _ = DDIM(eta).step(truth, ONE * (t.alpha * 0.7 + t.sigma), t, s, None, lambda: 0 * ONE, None)
        noisy, _ = DDIM(eta).step(truth, ONE * t.alpha * 0.7, t, s, None, lambda: ONE, None)
        practice.append(torch.stack([mean, (ahead - mean) ** 2 + (noisy - mean) ** 2]))
        theory.append(torch.stack([s.alpha * 0.7, s.sigma**2]).view(2, 1, 1))
    return torch.stack(theory), torch.stack(practice)


@check("Sedykh eq. 4.14-4.16; Sedykh eq. 4.9-4.10")
def ddim_at_eta_1_is_the_posterior() -> Sides:
    """with eta = 1 and the same noise, DDIM is the ancestral step with beta-tilde, on a subsequence"""
    denoiser, noise = line().denoiser(LINEAR), torch.tensor([[0.4], [-1.1], [0.9]], dtype=torch.float64)
    x = torch.tensor([[1.0], [-0.3], [0.2]], dtype=torch.float64)
    sides = []
    for sampler in (Ancestral("fixed_small"), DDIM(eta=1.0)):
        sides.append(
            torch.stack(
                [sampler.step(denoiser, x, t, s, None, lambda: noise, None)[0] for t, s in LINEAR.steps(20).pairs()]
            )
        )
    return sides[0], sides[1]


@check("Sedykh eq. 4.12-4.14")
def ddim_is_exact_for_a_point() -> Sides:
    """if the data are a single point, one DDIM step reaches it from any x_T"""
    truth = GaussianMixture(torch.ones(1), torch.tensor([[0.3]]), torch.zeros(1, 1, 1)).denoiser(LINEAR)
    x = torch.tensor([[-2.0], [0.0], [5.0]], dtype=torch.float64)
    exact = truth(x, LINEAR.level(500)).x0  # the oracle's 0.3, which has float32 rounding
    return exact, DDIM().step(truth, x, LINEAR.level(1000), LINEAR.level(0), None, lambda: x, None)[0]


@check("Sedykh eq. 4.19, 4.14")
def ddims_noise() -> Sides:
    """sigma(eta) = eta sqrt((1 - abar_s)/(1 - abar_t)) sqrt(1 - abar_t/abar_s); alpha_bar, not alpha as printed"""
    chain, practice, theory, printed = LINEAR.steps(10), [], [], []
    for t, s in list(chain.pairs())[:-1]:
        i, j = int(t.time) - 1, int(s.time) - 1
        practice.append(gains(DDIM(0.5), normal(0.3).denoiser(LINEAR), t, s)[1])
        theory.append(0.5 * ((1 - BAR[j]) / (1 - BAR[i])).sqrt() * (1 - BAR[i] / BAR[j]).sqrt())
        printed.append(0.5 * (BETA[j] / BETA[i]).sqrt() * (1 - (1 - BETA[i]) / (1 - BETA[j])).sqrt())
    return torch.stack(theory), torch.stack(practice), torch.stack(printed)


@check("Sedykh eq. 4.19")
def sigma_hat_is_fixed_large() -> Sides:
    """sigma-hat^2 = 1 - abar_t/abar_s is fixed-large on the subsequence; in 4.14 the radicand would be negative"""
    chain, practice, theory = LINEAR.steps(10), [], []
    radicands = []
    for t, s in list(chain.pairs())[:-1]:
        i, j = int(t.time) - 1, int(s.time) - 1
        practice.append(gains(Ancestral("fixed_large"), normal(0.3).denoiser(LINEAR), t, s)[1] ** 2)
        theory.append(1 - BAR[i] / BAR[j])
        radicands.append(1 - BAR[j] - theory[-1])
    assert min(radicands) < 0
    return torch.stack(theory), torch.stack(practice)


@check("Sedykh eq. 4.7-4.10")
def the_familys_forward_step() -> Sides:
    """q_v(x_t | x_s, x_0) q_v(x_s | x_0) = q_v(x_s | x_t, x_0) q_v(x_t | x_0) for every v of DDIM's family"""
    t, s, x0, x_s, x_t = LINEAR.level(400), LINEAR.level(250), ONE * 0.4, ONE * -0.3, ONE * 0.9
    theory, practice = [], []
    for eta in (0.2, 0.7, 1.0):
        v = eta**2 * step(t, s).variance
        eps = (x_t - t.alpha * x0) / t.sigma
        back = family(x0, eps, s, v).log_prob(x_s) + marginal(x0, t).log_prob(x_t) - marginal(x0, s).log_prob(x_s)
        theory.append(back)
        practice.append(family_forward(x0, x_s, s, t, v).log_prob(x_t))
    return torch.stack(theory), torch.stack(practice)


@check("Sedykh eq. 4.15-4.18")
def every_family_is_trained_by_the_same_loss() -> Sides:
    """J_sigma's terms are gamma |eps - epshat|^2, gamma = (alpha_s sigma_t/alpha_t - sqrt(sigma_s^2 - v))^2/(2 v)"""
    t, s = LINEAR.level(torch.tensor([400, 900])), LINEAR.level(torch.tensor([250, 899]))
    x0, eps = torch.tensor([[0.4], [-0.7]], dtype=torch.float64), torch.tensor([[1.2], [0.3]], dtype=torch.float64)
    p = line().denoiser(LINEAR)(diffuse(x0, eps, t), t)
    theory, practice = [], []
    for eta in (0.2, 0.7, 1.0):
        v = eta**2 * step(t, s).variance
        gamma = (s.alpha * t.sigma / t.alpha - torch.sqrt(s.sigma**2 - v)) ** 2 / (2 * v)
        theory.append(gamma * (eps - p.eps)[:, 0] ** 2)
        practice.append(family_terms(p, x0, t, s, eta))
    theory.append(step_terms(line().denoiser(LINEAR, "fixed_small"), p, x0, t, s, LINEAR.chain))  # eta = 1 is L_t
    practice.append(practice[-1])
    return torch.stack(theory), torch.stack(practice)


@check("Sedykh eq. 4.10")
def ddims_forward_step_by_bayes() -> Sides:
    """q(x_t | x_s, x_0) = q(x_s | x_t, x_0) q(x_t | x_0)/q(x_s | x_0) does not depend on x_0 at sigma^2 = beta-tilde"""
    t, s = LINEAR.level(400), LINEAR.level(250)
    k, x_s, x_t, out = step(t, s), ONE * -0.3, ONE * 0.9, []
    for x0 in (-0.8, 0.0, 0.6):
        q = posterior(ONE * x0, x_t, t, s).log_prob(x_s) + marginal(ONE * x0, t).log_prob(x_t)
        out.append(q - marginal(ONE * x0, s).log_prob(x_s))
    expected = -((0.9 + 0.3 * k.a) ** 2 / k.b + torch.log(2 * math.pi * k.b)) / 2
    return expected.expand(3), torch.cat(out).squeeze()


@check("Song et al. 2021 eq. 13; math: probability-flow ODE", 5e-4)
def ddim_follows_the_probability_flow() -> Sides:
    """DDIM in 3700 small steps follows the flow alpha_s m + sqrt(C_s/C_t) (x - alpha_t m) of N(m, C)"""
    schedule = COSINE.__class__(T=4000)
    truth = GaussianMixture(torch.ones(1), torch.tensor([[0.5]]), torch.full((1, 1, 1), 0.25)).denoiser(schedule)
    levels = schedule.level(torch.arange(3800, 99, -1))
    x = torch.tensor([[1.5], [-0.7]], dtype=torch.float64)
    spread = (levels.alpha**2 * 0.25 + levels.sigma**2).sqrt()
    exact = levels.alpha[-1] * 0.5 + spread[-1] / spread[0] * (x - levels.alpha[0] * 0.5)
    for i, j in pairwise(range(len(levels.time))):
        x, _ = DDIM().step(truth, x, levels[i], levels[j], None, lambda: 0 * ONE, None)
    return exact, x


@check("Sedykh eq. 4.8, 4.12")
def the_family_starts_from_the_chains_end() -> Sides:
    """the family's q(x_T | x_0) is the chain's, sqrt(abar_T) x_0 + sqrt(1 - abar_T) eps; alpha_bar, not alpha"""
    x0, eps = torch.tensor([[0.4], [-0.9]], dtype=torch.float64), torch.tensor([[1.3], [0.2]], dtype=torch.float64)
    last = LINEAR.chain[0]
    right = BAR[-1].sqrt() * x0 + (1 - BAR[-1]).sqrt() * eps
    return right, family(x0, eps, last, torch.zeros((), dtype=torch.float64)).mean, BETA[-1].sqrt() * eps
