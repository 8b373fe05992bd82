"""The reverse step, its variances, and the samplers that walk it."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from fromnoise.bound import family_terms, step_terms
from fromnoise.denoise import Denoiser
from fromnoise.gaussian import Level, diffuse, family, family_forward, marginal, posterior, step
from fromnoise.oracle import GaussianMixture
from fromnoise.parameterize import Prediction, parameterization
from fromnoise.samplers._base import Sampler
from fromnoise.samplers.ancestral import Ancestral
from fromnoise.samplers.ddim import DDIM
from fromnoise.schedules._base import Schedule
from fromnoise.variance import FixedLarge, FixedSmall, LearnedRange, Optimal, reverse
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import BAR, BETA, COSINE, LINEAR, SHORT, line, normal

ONE = torch.ones(1, 1, dtype=torch.float64)


def _gains(sampler: Sampler, denoiser: Denoiser, t: Level, s: Level) -> tuple[Tensor, Tensor]:
    """x_s = gain x_t + spread z of one step, for a denoiser that is linear."""
    quiet, _ = sampler.step(denoiser, ONE, t, s, None, lambda: torch.zeros_like(ONE), None)
    loud, _ = sampler.step(denoiser, 0 * ONE, t, s, None, lambda: ONE, None)
    return quiet.squeeze(), loud.squeeze()


def _end_variance(sampler: Sampler, denoiser: Denoiser, schedule: Schedule, start: Tensor | float) -> Tensor:
    """Variance of what the sampler ends with, for zero-mean Gaussian data, exactly."""
    var = torch.as_tensor(start, dtype=torch.float64)
    for t, s in schedule.chain.pairs():
        gain, spread = _gains(sampler, denoiser, t, s)
        var = gain**2 * var + spread**2
    return var


def _exact(var: float, schedule: Schedule) -> Denoiser:
    denoiser = normal(var).denoiser(schedule)
    denoiser.variance = Optimal(lambda t: var * t.sigma**2 / (t.alpha**2 * var + t.sigma**2))
    return denoiser


@check("Sedykh eq. 2.11-2.12; Friedman eq. 3-4, 13; Weng eq. 14; Notes eq. 4, 7, 11, 18")
def best_variance_is_exact_on_gaussians() -> Sides:
    """ancestral steps with v* from q(x_T) give N(0, 0.25) exactly, in 6, 50 and 1000 steps; sigma_{t-1} does not"""
    theory, practice, printed = [], [], []
    for schedule in (SHORT, LINEAR.__class__(T=50, beta_end=0.3), LINEAR):
        denoiser = _exact(0.25, schedule)
        last = schedule.level(schedule.T)
        start = last.alpha**2 * 0.25 + last.sigma**2
        theory.append(0.25)
        practice.append(_end_variance(Ancestral(), denoiser, schedule, start) + _decoder_variance(denoiser, schedule))
        var = start.clone()
        for t, s in schedule.chain.pairs():
            gain, _ = _gains(Ancestral(), denoiser, t, s)
            before = 0.0 if s.is_clean else step(s, schedule.level(s.time - 1)).b  # sigma_{t-1}^2
            var = gain**2 * var + before
        printed.append(var)
    return torch.tensor(theory), torch.stack(practice), torch.stack(printed)


def _decoder_variance(denoiser: Denoiser, schedule: Schedule) -> Tensor:
    """Of p(x_0 | x_1), which a sampler leaves out: it ends on the mean."""
    t, s = schedule.chain[-2], schedule.chain[-1]
    return torch.exp(reverse(denoiser(ONE, t), t, s, denoiser.variance, schedule.chain).log_var).squeeze()


@check("Sedykh Algorithm 2", 2e-3)
def algorithm_2_as_printed() -> Sides:
    """Algorithm 2 on N(0, 0.25), T = 1000: variance 0.25; with sqrt(1 - alpha_t) under eps it is 0.03"""
    denoiser = normal(0.25).denoiser(LINEAR)
    printed = torch.ones((), dtype=torch.float64)
    for t in range(1000, 0, -1):
        p = denoiser(ONE, LINEAR.level(t))
        gain = (1 - BETA[t - 1].sqrt() * p.eps.squeeze()) / (1 - BETA[t - 1]).sqrt()
        printed = gain**2 * printed + (BETA[t - 1] if t > 1 else 0)
    return 0.25, _end_variance(Ancestral("fixed_large"), denoiser, LINEAR, 1.0), printed


@check("Notes eq. 7, 16, 18", 5e-3)
def the_notes_sampler_diverges() -> Sides:
    """with the cumulative product under the leading root the sampler of N(0, 0.25) diverges"""
    denoiser = normal(0.25).denoiser(LINEAR)
    printed = torch.ones((), dtype=torch.float64)
    for t in range(1000, 0, -1):
        eps = denoiser(ONE, LINEAR.level(t)).eps.squeeze()
        gain = (1 - BETA[t - 1] / (1 - BAR[t - 1]).sqrt() * eps) / BAR[t - 1].sqrt()
        printed = gain**2 * printed + BETA[t - 1]
    return 0.25, _end_variance(Ancestral("fixed_small"), denoiser, LINEAR, 1.0), printed


@check("Shorts eq. 4", 5e-3)
def the_snippet_must_step_to_the_posterior_mean() -> Sides:
    """x0hat plus noise in place of the posterior's mean loses N(0, 0.25): it ends with a variance of 0.01"""
    denoiser = normal(0.25).denoiser(LINEAR)
    printed = torch.ones((), dtype=torch.float64)
    for t in range(1000, 0, -1):
        gain = denoiser(ONE, LINEAR.level(t)).x0.squeeze()
        printed = gain**2 * printed + (step(LINEAR.level(t), LINEAR.level(t - 1)).variance if t > 1 else 0)
    return 0.25, _end_variance(Ancestral("fixed_small"), denoiser, LINEAR, 1.0), printed


@check("Sedykh Algorithm 2; Sedykh eq. 4.13", 0)
def no_noise_in_the_last_step() -> Sides:
    """z = 0 at t = 1, not only below it: the end does not depend on the last noise"""
    denoiser = line().denoiser(LINEAR)
    spreads = [_gains(sampler, normal(0.3).denoiser(LINEAR), LINEAR.level(1), LINEAR.level(0))[1]
               for sampler in (Ancestral("fixed_small"), Ancestral("fixed_large"), DDIM(eta=1.0))]  # fmt: skip
    assert denoiser.variance.name == "fixed_large"
    return torch.zeros(3), torch.stack(spreads)


@check("Notes eq. 12, 17; Sedykh eq. 2.12")
def fixed_variances() -> Sides:
    """fixed small is beta-tilde_t and fixed large beta_t; without noise the DDPM step is not DDIM's"""
    t, s = LINEAR.level(torch.arange(2, 1001)), LINEAR.level(torch.arange(1, 1000))
    x = torch.zeros(999, 1, dtype=torch.float64)
    p = Prediction(x, t, x, parameterization("eps"), LINEAR)
    got = [torch.exp(reverse(p, t, s, v).log_var)[:, 0] for v in (FixedSmall(), FixedLarge())]
    return torch.stack([BETA[1:] * (1 - BAR[:-1]) / (1 - BAR[1:]), BETA[1:]]), torch.stack(got)


@check("Notes eq. 17")
def ddim_is_not_ddpm_without_noise() -> Sides:
    """DDIM's step keeps eps whole: sqrt(1 - abar_{t-1}) eps; DDPM's mean does not"""
    t, s, i = LINEAR.level(400), LINEAR.level(399), 399
    denoiser = normal(0.25).denoiser(LINEAR)
    p = denoiser(ONE, t)
    x, _ = DDIM().step(denoiser, ONE, t, s, None, lambda: ONE, None)
    return BAR[i - 1].sqrt() * p.x0 + (1 - BAR[i - 1]).sqrt() * p.eps, x, reverse(p, t, s, FixedSmall()).mean


@check("Sedykh eq. 4.1")
def learned_range_interpolates_logarithms() -> Sides:
    """learned range: btilde at v = 0, beta at v = 1, their geometric mean between; btilde_2 stands for btilde_1"""
    out, expected = [], []
    for row in (1, 2, 500):
        t, s = LINEAR.level(torch.full((3,), row)), LINEAR.level(torch.full((3,), row - 1))
        f = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
        p = Prediction(f, t, f, parameterization("eps"), LINEAR, f)
        out.append(torch.exp(reverse(p, t, s, LearnedRange(), LINEAR.chain).log_var)[:, 0])
        low = BETA[max(row, 2) - 1] * (1 - BAR[max(row, 2) - 2]) / (1 - BAR[max(row, 2) - 1])
        expected.append(torch.stack([low, (low * BETA[row - 1]).sqrt(), BETA[row - 1]]))
    return torch.stack(expected), torch.stack(out)


def _fraction(var: float, t: Level, s: Level) -> Tensor:
    """log(v*/btilde)/log(b/btilde) of N(0, var)."""
    k = step(t, s)
    best = Optimal(lambda u: var * u.sigma**2 / (u.alpha**2 * var + u.sigma**2))
    p = normal(max(var, 1e-30)).denoiser(LINEAR)(ONE, t)
    return (best.log_var(p, k, torch.log(k.variance)) - torch.log(k.variance)) / torch.log(k.b / k.variance)


@check("math: learned range at its optimum")
def learned_range_at_its_optimum() -> Sides:
    """the best fraction log(v*/btilde)/log(beta/btilde) is 0 for a point mass and 1 for N(0, 1), at every t"""
    rows = (2, 57, 200, 400)  # further up the two limits are closer than rounding lets one tell
    fractions = [_fraction(v, LINEAR.level(r), LINEAR.level(r - 1)) for v in (0.0, 1.0) for r in rows]
    return torch.tensor([0.0] * 4 + [1.0] * 4), torch.stack(fractions)


@check("math: learned range in the small-step limit", 1e-3)
def learned_range_in_small_steps() -> Sides:
    """for N(0, S) the best fraction tends to S/(alpha^2 S + sigma^2): from 1 to S, beyond 1 where S > 1"""
    rows, out, expected = (100, 400, 700, 1000), [], []
    for var in (0.25, 3.0):
        for r in rows:
            t = COSINE.level(r - 1)
            out.append(_fraction(var, t, COSINE.at(t.log_snr + 1e-4)))
            expected.append(var / (t.alpha**2 * var + t.sigma**2))
    return torch.stack(expected), torch.stack(out)


@check("Analytic-DPM theorem 1; math: v*")
def optimal_variance_is_a_minimum() -> Sides:
    """d L_{t-1}/d log v = 0 at v* = btilde + c^2 E tr Cov/D, and not at the fixed variances"""
    t, s, var = LINEAR.level(400), LINEAR.level(399), 0.25
    k = step(t, s)
    spread = var * t.sigma**2 / (t.alpha**2 * var + t.sigma**2)
    slope = lambda log_v: (1 - (k.variance + k.from_x0**2 * spread) * torch.exp(-log_v)) / 2  # noqa: E731
    best = Optimal(lambda u: spread).log_var(normal(var).denoiser(LINEAR)(ONE, t), k, torch.log(k.variance))
    return 0.0, slope(best), slope(torch.log(k.variance))


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
    """eta = 1 is the ancestral step with beta-tilde, given the same noise, on a sub-sequence"""
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
    """DDIM brings a point mass home in one step, whatever x_T is"""
    truth = GaussianMixture(torch.ones(1), torch.tensor([[0.3]]), torch.zeros(1, 1, 1)).denoiser(LINEAR)
    x = torch.tensor([[-2.0], [0.0], [5.0]], dtype=torch.float64)
    exact = truth(x, LINEAR.level(500)).x0  # the oracle's own 0.3, float32 until it was given
    return exact, DDIM().step(truth, x, LINEAR.level(1000), LINEAR.level(0), None, lambda: x, None)[0]


@check("Sedykh eq. 4.19, 4.14")
def ddims_noise() -> Sides:
    """sigma(eta) = eta sqrt((1 - abar_s)/(1 - abar_t)) sqrt(1 - abar_t/abar_s), with alpha_bar for the alpha printed"""
    chain, practice, theory, printed = LINEAR.steps(10), [], [], []
    for t, s in list(chain.pairs())[:-1]:
        i, j = int(t.time) - 1, int(s.time) - 1
        practice.append(_gains(DDIM(0.5), normal(0.3).denoiser(LINEAR), t, s)[1])
        theory.append(0.5 * ((1 - BAR[j]) / (1 - BAR[i])).sqrt() * (1 - BAR[i] / BAR[j]).sqrt())
        printed.append(0.5 * (BETA[j] / BETA[i]).sqrt() * (1 - (1 - BETA[i]) / (1 - BETA[j])).sqrt())
    return torch.stack(theory), torch.stack(practice), torch.stack(printed)


@check("Sedykh eq. 4.19")
def sigma_hat_is_fixed_large() -> Sides:
    """sigma-hat^2 = 1 - abar_t/abar_s is fixed large on the sub-sequence; in 4.14 its radicand would be negative"""
    chain, practice, theory = LINEAR.steps(10), [], []
    radicands = []
    for t, s in list(chain.pairs())[:-1]:
        i, j = int(t.time) - 1, int(s.time) - 1
        practice.append(_gains(Ancestral("fixed_large"), normal(0.3).denoiser(LINEAR), t, s)[1] ** 2)
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
    """DDIM in 4000 small steps is the flow alpha_s m + sqrt(C_s/C_t) (x - alpha_t m) of N(m, C), first order"""
    schedule = COSINE.__class__(T=4000)
    truth = GaussianMixture(torch.ones(1), torch.tensor([[0.5]]), torch.full((1, 1, 1), 0.25)).denoiser(schedule)
    levels = schedule.level(torch.arange(3800, 99, -1))
    x = torch.tensor([[1.5], [-0.7]], dtype=torch.float64)
    spread = (levels.alpha**2 * 0.25 + levels.sigma**2).sqrt()
    exact = levels.alpha[-1] * 0.5 + spread[-1] / spread[0] * (x - levels.alpha[0] * 0.5)
    for i, j in pairwise(range(len(levels.time))):
        x, _ = DDIM().step(truth, x, levels[i], levels[j], None, lambda: 0 * ONE, None)
    return exact, x


@check("Sedykh eq. 2.9, 4.8")
def a_ddim_round_trip_starts_from_the_marginal() -> Sides:
    """x_T of the family is the chain's: sqrt(abar_T) x_0 + sqrt(1 - abar_T) eps"""
    x0, eps = torch.tensor([[0.4], [-0.9]], dtype=torch.float64), torch.tensor([[1.3], [0.2]], dtype=torch.float64)
    return BAR[-1].sqrt() * x0 + (1 - BAR[-1]).sqrt() * eps, diffuse(x0, eps, LINEAR.level(1000))
