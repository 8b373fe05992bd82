"""The reverse step, its variances, and the samplers that take it."""

from dataclasses import replace

import torch
from torch import Tensor

from fromnoise.bound import step_terms
from fromnoise.denoise import Denoiser
from fromnoise.gaussian import Level, diffuse, step
from fromnoise.parameterizations.eps import Eps
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.samplers.ancestral import Ancestral
from fromnoise.samplers.base import Sampler
from fromnoise.samplers.ddim import DDIM
from fromnoise.schedules.base import Schedule
from fromnoise.variances.fixed_large import FixedLarge
from fromnoise.variances.fixed_small import FixedSmall
from fromnoise.variances.learned_range import LearnedRange
from fromnoise.variances.optimal import Optimal
from fromnoise.variances.reverse import reverse
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import BAR, BETA, COSINE, LINEAR, SHORT, hermite, normal

ONE = torch.ones(1, 1, dtype=torch.float64)


def gains(sampler: Sampler, denoiser: Denoiser, t: Level, s: Level) -> tuple[Tensor, Tensor]:
    """The (gain, spread) in x_s = gain x_t + spread z, one step with a linear denoiser."""
    quiet, _ = sampler.step(denoiser, ONE, t, s, None, lambda: torch.zeros_like(ONE), None)
    loud, _ = sampler.step(denoiser, 0 * ONE, t, s, None, lambda: ONE, None)
    return quiet.squeeze(), loud.squeeze()


def _end_variance(sampler: Sampler, denoiser: Denoiser, schedule: Schedule, start: Tensor | float) -> Tensor:
    """The exact variance of the sampler's result, for zero-mean Gaussian data."""
    var = torch.as_tensor(start, dtype=torch.float64)
    for t, s in schedule.chain.pairs():
        gain, spread = gains(sampler, denoiser, t, s)
        var = gain**2 * var + spread**2
    return var


def _exact(var: float, schedule: Schedule) -> Denoiser:
    denoiser = normal(var).denoiser(schedule)
    denoiser.variance = Optimal(lambda t: var * t.sigma**2 / (t.alpha**2 * var + t.sigma**2))
    return denoiser


@check("Sedykh eq. 2.11-2.12; Friedman eq. 3-4, 13; Weng eq. 14; Notes eq. 4, 7, 11, 18")
def best_variance_is_exact_on_gaussians() -> Sides:
    """ancestral steps with v* from q(x_T) give N(0, 0.25) exactly in 6, 50 and 1000 steps, but not with sigma_{t-1}"""
    theory, practice, printed = [], [], []
    for schedule in (SHORT, LINEAR.__class__(T=50, beta_end=0.3), LINEAR):
        denoiser = _exact(0.25, schedule)
        last = schedule.level(schedule.T)
        start = last.alpha**2 * 0.25 + last.sigma**2
        theory.append(0.25)
        practice.append(_end_variance(Ancestral(), denoiser, schedule, start) + _decoder_variance(denoiser, schedule))
        var = start.clone()
        for t, s in schedule.chain.pairs():
            gain, _ = gains(Ancestral(), denoiser, t, s)
            before = 0.0 if s.is_clean else step(s, schedule.level(s.time - 1)).b  # sigma_{t-1}^2
            var = gain**2 * var + before
        printed.append(var)
    return torch.tensor(theory), torch.stack(practice), torch.stack(printed)


def _decoder_variance(denoiser: Denoiser, schedule: Schedule) -> Tensor:
    """The variance of p(x_0 | x_1), which a sampler leaves out, since it ends on the mean."""
    t, s = schedule.chain[-2], schedule.chain[-1]
    return torch.exp(reverse(denoiser(ONE, t), t, s, denoiser.variance, schedule.chain).log_var).squeeze()


@check("Sedykh Algorithm 2", 2e-3)
def algorithm_2_as_printed() -> Sides:
    """Algorithm 2 on N(0, 0.25) with T = 1000 gives variance 0.25; with eps over sqrt(1 - alpha_t) it gives 0.03"""
    denoiser = normal(0.25).denoiser(LINEAR)
    printed = torch.ones((), dtype=torch.float64)
    for t in range(1000, 0, -1):
        p = denoiser(ONE, LINEAR.level(t))
        gain = (1 - BETA[t - 1].sqrt() * p.eps.squeeze()) / (1 - BETA[t - 1]).sqrt()
        printed = gain**2 * printed + (BETA[t - 1] if t > 1 else 0)
    return 0.25, _end_variance(Ancestral("fixed_large"), denoiser, LINEAR, 1.0), printed


@check("Notes eq. 7, 16, 18", 5e-3)
def the_notes_sampler_diverges() -> Sides:
    """with the cumulative product under the leading root, the sampler diverges on N(0, 0.25)"""
    denoiser = normal(0.25).denoiser(LINEAR)
    printed = torch.ones((), dtype=torch.float64)
    for t in range(1000, 0, -1):
        eps = denoiser(ONE, LINEAR.level(t)).eps.squeeze()
        gain = (1 - BETA[t - 1] / (1 - BAR[t - 1]).sqrt() * eps) / BAR[t - 1].sqrt()
        printed = gain**2 * printed + BETA[t - 1]
    return 0.25, _end_variance(Ancestral("fixed_small"), denoiser, LINEAR, 1.0), printed


@check("Shorts eq. 4", 5e-3)
def the_snippet_must_step_to_the_posterior_mean() -> Sides:
    """x0hat plus noise instead of the posterior mean does not sample N(0, 0.25): its variance is 0.01"""
    denoiser = normal(0.25).denoiser(LINEAR)
    printed = torch.ones((), dtype=torch.float64)
    for t in range(1000, 0, -1):
        gain = denoiser(ONE, LINEAR.level(t)).x0.squeeze()
        printed = gain**2 * printed + (step(LINEAR.level(t), LINEAR.level(t - 1)).variance if t > 1 else 0)
    return 0.25, _end_variance(Ancestral("fixed_small"), denoiser, LINEAR, 1.0), printed


@check("Sedykh Algorithm 2; Sedykh eq. 4.13", 0)
def no_noise_in_the_last_step() -> Sides:
    """z = 0 at t = 1: the result does not depend on the noise of the last step"""
    spreads = [gains(sampler, normal(0.3).denoiser(LINEAR), LINEAR.level(1), LINEAR.level(0))[1]
               for sampler in (Ancestral("fixed_small"), Ancestral("fixed_large"), DDIM(eta=1.0))]  # fmt: skip
    return torch.zeros(3), torch.stack(spreads)


@check("Notes eq. 12, 17; Sedykh eq. 2.12")
def fixed_variances() -> Sides:
    """fixed small is beta-tilde_t and fixed large is beta_t"""
    t, s = LINEAR.level(torch.arange(2, 1001)), LINEAR.level(torch.arange(1, 1000))
    x = torch.zeros(999, 1, dtype=torch.float64)
    p = Prediction(x, t, x, Eps(), LINEAR)
    got = [torch.exp(reverse(p, t, s, v).log_var)[:, 0] for v in (FixedSmall(), FixedLarge())]
    return torch.stack([BETA[1:] * (1 - BAR[:-1]) / (1 - BAR[1:]), BETA[1:]]), torch.stack(got)


@check("Notes eq. 17")
def ddim_is_not_ddpm_without_noise() -> Sides:
    """DDIM's step keeps eps whole, as sqrt(1 - abar_{t-1}) eps; DDPM's mean does not"""
    t, s, i = LINEAR.level(400), LINEAR.level(399), 399
    denoiser = normal(0.25).denoiser(LINEAR)
    p = denoiser(ONE, t)
    x, _ = DDIM().step(denoiser, ONE, t, s, None, lambda: ONE, None)
    return BAR[i - 1].sqrt() * p.x0 + (1 - BAR[i - 1]).sqrt() * p.eps, x, reverse(p, t, s, FixedSmall()).mean


@check("Sedykh eq. 4.1")
def learned_range_interpolates_logarithms() -> Sides:
    """learned range: btilde at v = 0, beta at v = 1, the geometric mean halfway; btilde_2 replaces btilde_1"""
    out, expected = [], []
    for row in (1, 2, 500):
        t, s = LINEAR.level(torch.full((3,), row)), LINEAR.level(torch.full((3,), row - 1))
        f = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
        p = Prediction(f, t, f, Eps(), LINEAR, f)
        out.append(torch.exp(reverse(p, t, s, LearnedRange(), LINEAR.chain).log_var)[:, 0])
        low = BETA[max(row, 2) - 1] * (1 - BAR[max(row, 2) - 2]) / (1 - BAR[max(row, 2) - 1])
        expected.append(torch.stack([low, (low * BETA[row - 1]).sqrt(), BETA[row - 1]]))
    return torch.stack(expected), torch.stack(out)


def _best(var: float) -> Optimal:
    return Optimal(lambda u: var * u.sigma**2 / (u.alpha**2 * var + u.sigma**2))


def _fraction(var: float, t: Level, s: Level) -> Tensor:
    """The fraction log(v*/btilde)/log(b/btilde) for data N(0, var)."""
    k = step(t, s)
    p = normal(max(var, 1e-30)).denoiser(LINEAR)(ONE, t)
    return (_best(var).log_var(p, k, torch.log(k.variance)) - torch.log(k.variance)) / torch.log(k.b / k.variance)


@check("math: learned range at its optimum; Sedykh eq. 4.1")
def learned_range_at_its_optimum() -> Sides:
    """the best variance is the learned range at v = 0 for a point mass and at v = 1 for N(0, 1), at every t"""
    theory, practice = [], []
    for var, fraction in ((0.0, 0.0), (1.0, 1.0)):
        for row in (2, 57, 400, 1000):
            t, s = LINEAR.level(row), LINEAR.level(row - 1)
            p = normal(max(var, 1e-30)).denoiser(LINEAR)(ONE, t)
            spread = var * t.sigma**2 / (t.alpha**2 * var + t.sigma**2)
            k = step(t, s)
            theory.append(torch.log(k.variance + k.from_x0**2 * spread))
            told = replace(p, variance=torch.full_like(ONE, fraction))
            practice.append(reverse(told, t, s, LearnedRange()).log_var.squeeze())
    return torch.stack(theory), torch.stack(practice)


@check("math: learned range in the small-step limit", 1e-3)
def learned_range_in_small_steps() -> Sides:
    """for N(0, S) the best fraction tends to S/(alpha^2 S + sigma^2): from 1 to S, and thus beyond 1 if S > 1"""
    rows, out, expected = (100, 400, 700, 1000), [], []
    for var in (0.25, 3.0):
        for r in rows:
            t = COSINE.level(r - 1)
            out.append(_fraction(var, t, COSINE.at(t.log_snr + 1e-4)))
            expected.append(var / (t.alpha**2 * var + t.sigma**2))
    return torch.stack(expected), torch.stack(out)


@check("Analytic-DPM theorem 1; math: v*; Friedman eq. 37")
def optimal_variance_is_a_minimum() -> Sides:
    """d E[L_{t-1}]/d log v = 0 at the optimal variance and not at btilde, by differences of the shipped term"""
    t, s, var, h = LINEAR.level(400), LINEAR.level(399), 0.25, 1e-3
    nodes, weights = hermite(4)
    x0 = (0.5 * nodes).repeat_interleave(4)[:, None]
    x_t, weight = diffuse(x0, nodes.repeat(4)[:, None], t), weights.repeat_interleave(4) * weights.repeat(4)
    denoiser, k, n = normal(var).denoiser(LINEAR), step(t, s), 16
    p = denoiser(x_t, t.expand(n))

    def mean_term(log_v: Tensor) -> Tensor:
        spread = ((torch.exp(log_v) - k.variance) / k.from_x0**2).expand(n)
        denoiser.variance = Optimal(lambda u: spread)
        return (weight * step_terms(denoiser, p, x0, t.expand(n), s.expand(n), LINEAR.chain)).sum()

    def slope(log_v: Tensor) -> Tensor:
        ends = [mean_term(log_v + i * h) for i in (-2, -1, 1, 2)]
        return (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h)

    best = _best(var).log_var(p, k, torch.log(k.variance))
    return 0.0, slope(best), slope(torch.log(k.variance))
