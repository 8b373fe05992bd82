"""The variational bound, term by term."""

import math

import torch
from torch import Tensor

from fromnoise.bound import prior_kl, step_terms
from fromnoise.denoise import Denoiser
from fromnoise.gaussian import Gaussian, Level, diffuse, posterior, step
from fromnoise.oracle import FiniteData
from fromnoise.schedules.base import Discrete
from fromnoise.variances.optimal import Optimal
from fromnoise.variances.reverse import reverse
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import GREYS, LINEAR, SHORT, Slope, hermite, line, log_normal, normal

EPS = torch.linspace(-8, 8, 801, dtype=torch.float64)
WEIGHT = torch.exp(-(EPS**2) / 2) / math.sqrt(2 * math.pi) * 0.02


def straight(total: int, top: float = 13.3, bottom: float = -9.0) -> Discrete:
    """A schedule whose log-SNR falls in even steps."""
    log_snr = torch.linspace(top, bottom, total, dtype=torch.float64)
    return Discrete(torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt())


def _greys(t: Level) -> tuple[Tensor, Tensor, Tensor]:
    """(x_0, x_t, weight) for every grey level and every node eps of a quadrature."""
    x0 = GREYS.repeat_interleave(len(EPS))[:, None]
    return x0, diffuse(x0, EPS.repeat(8)[:, None], t), WEIGHT.repeat(8) / 8


def _grey_bound(total: int) -> Tensor:
    """The bound for eight grey levels, in bits, with the exact denoiser and the best isotropic variance."""
    schedule = straight(total)
    denoiser = FiniteData(GREYS[:, None]).denoiser(schedule)
    bits = prior_kl(denoiser, GREYS[:, None], schedule.level(total)).mean() / math.log(2)
    for t, s in schedule.chain.pairs():
        x0, x_t, weight = _greys(t)
        p = denoiser(x_t, t.expand(len(x0)))
        spread = (weight * (x0 - p.x0)[:, 0] ** 2).sum()
        denoiser.variance = Optimal(lambda level, v=spread: v.expand(len(level.time)))
        terms = step_terms(denoiser, p, x0, t.expand(len(x0)), s.expand(len(x0)), schedule.chain)
        bits = bits + (weight * terms).sum() / math.log(2)
    return bits


@check("math: 8 grey levels; Sedykh eq. 2.38, 2.95-2.97", 1e-3)
def grey_levels_10() -> Sides:
    """eight equiprobable grey levels, 3 bits: the bound with T = 10 is 4.2132 bits"""
    return 4.2132, _grey_bound(10)


@check("math: 8 grey levels; Sedykh eq. 2.38, 2.95-2.97", 1e-3)
def grey_levels_50() -> Sides:
    """eight equiprobable grey levels, 3 bits: the bound with T = 50 is 3.2385 bits"""
    return 3.2385, _grey_bound(50)


@check("math: 8 grey levels; Sedykh eq. 2.38, 2.95-2.97", 1e-3)
def grey_levels_200() -> Sides:
    """eight equiprobable grey levels, 3 bits: the bound with T = 200 is 3.0589 bits"""
    return 3.0589, _grey_bound(200)


@check("math: 8 grey levels; Sedykh eq. 2.38, 2.95-2.97", 1e-3)
def grey_levels_1000() -> Sides:
    """eight equiprobable grey levels, 3 bits: the bound with T = 1000 is 3.0117 bits"""
    return 3.0117, _grey_bound(1000)


@check(
    "math: Gaussian data; Sedykh eq. 2.13-2.14, 2.17-2.24, 2.38-2.41; Friedman eq. 6, 21, 37; Weng eq. 22-26; "
    "Notes eq. 5",
)
def gaussian_identity() -> Sides:
    """for data N(0, S) with v*, the bound is H(q) + KL(q(x_T) | N(0, 1)) for T = 5, 40, 300:
    it is tight only if p(x_T) = q(x_T)"""
    theory, practice = [], []
    nodes = torch.tensor([-1.0, 1.0], dtype=torch.float64)  # two nodes are exact for squares
    for total in (5, 40, 300):
        for var in (0.2, 3.0):
            schedule = straight(total)
            best = Optimal(lambda t, v=var: v * t.sigma**2 / (t.alpha**2 * v + t.sigma**2))
            denoiser, last = normal(var).denoiser(schedule), schedule.level(total)
            bound = prior_kl(denoiser, math.sqrt(var) * nodes[:, None], last).mean()
            for t, s in schedule.chain.pairs():
                x0 = (math.sqrt(var) * nodes).repeat_interleave(2)[:, None]
                x_t = diffuse(x0, nodes.repeat(2)[:, None], t)
                model = reverse(denoiser(x_t, t), t, s, best, schedule.chain)
                bound = bound + (-model.log_prob(x0) if s.is_clean else posterior(x0, x_t, t, s).kl(model)).mean()
            spread = last.alpha**2 * var + last.sigma**2
            theory.append(math.log(2 * math.pi * math.e * var) / 2 + (spread - 1 - torch.log(spread)) / 2)
            practice.append(bound)
    return torch.stack(theory), torch.stack(practice)


@check("Sedykh eq. 2.15-2.16; Friedman eq. 5-6, 36")
def the_gap_is_a_divergence() -> Sides:
    """bound = -log int p(x_0, x_1, x_2) dx_1 dx_2 + KL(q(path | x_0) | p(path | x_0)) for a wrong model,
    by quadrature"""
    chain, x0 = SHORT.steps(2), torch.tensor([[0.3]], dtype=torch.float64)
    denoiser = Denoiser(Slope(), SHORT, "v", "fixed_large")
    x1 = torch.linspace(-6, 6, 1201, dtype=torch.float64)[:, None]
    x2 = torch.linspace(-7, 7, 1401, dtype=torch.float64)[:, None]
    second, first, clean = chain
    decode = reverse(denoiser(x1, first), first, clean, denoiser.variance, chain).log_prob(x0.expand(1201, 1))[:, 0]
    model = reverse(denoiser(x2, second), second, first, denoiser.variance, chain)
    inner = log_normal(x1[:, 0], model.mean, torch.exp(model.log_var))  # [x2, x1]
    log_p = decode + inner + log_normal(x2, torch.zeros(()), 1.0)
    k = step(second, first)
    q1 = log_normal(x1[:, 0], first.alpha * 0.3, first.sigma**2)
    log_q = q1 + log_normal(x2, k.a * x1[:, 0], k.b)
    both = lambda f: torch.trapezoid(torch.trapezoid(f, x1[:, 0]), x2[:, 0])  # noqa: E731
    evidence = torch.log(both(torch.exp(log_p)))
    gap = both(torch.exp(log_q) * (log_q - (log_p - evidence)))
    terms = [prior_kl(denoiser, x0, second)[0]]
    eps, weight = hermite(60)
    for t, s in chain.pairs():
        x_t = diffuse(x0.expand(60, 1), eps[:, None], t)
        p = reverse(denoiser(x_t, t), t, s, denoiser.variance, chain)
        each = -p.log_prob(x0.expand(60, 1)) if s.is_clean else posterior(x0.expand(60, 1), x_t, t, s).kl(p)
        terms.append((weight * each[:, 0]).sum())
    return -evidence + gap, torch.stack(terms).sum()


@check("Sedykh eq. 2.39, 2.81; Weng eq. 24; math: L_T")
def prior_term() -> Sides:
    """L_T = (alpha_T^2 |x_0|^2 + D (sigma_T^2 - 1 - log sigma_T^2))/2, which eq. 2.81 leaves out"""
    x0, t = torch.tensor([[0.4, -0.8, 0.1]], dtype=torch.float64), LINEAR.level(700)
    theory = (t.alpha**2 * (x0**2).sum() + 3 * (t.sigma**2 - 1 - torch.log(t.sigma**2))) / 2
    return theory, prior_kl(normal(1.0).denoiser(LINEAR), x0, t)


@check("Sedykh eq. 2.81, 2.94", 1e-3)
def the_dropped_constant() -> Sides:
    """with sigma_t^2 = beta_t the constants that L_simple drops are 0.486 bits/dim on linear-1000"""
    k = step(LINEAR.level(torch.arange(2, 1001)), LINEAR.level(torch.arange(1, 1000)))
    share = k.variance / k.b
    return 0.486, ((share - 1 - torch.log(share)) / 2).sum() / math.log(2)


@check("math: L_{t-1}(v); Sedykh eq. 2.40, 2.82-2.89; Weng eq. 25; Friedman eq. 33")
def step_term_closed_form() -> Sides:
    """L_{t-1}(v) = (btilde/v - 1 - log(btilde/v))/2 + c^2 E tr Cov/(2v) for v = btilde, beta and v*, by quadrature"""
    schedule, t, s = SHORT, SHORT.level(5), SHORT.level(4)
    denoiser = FiniteData(GREYS[:, None]).denoiser(schedule, "fixed_small")
    x0, x_t, weight = _greys(t)
    n, k = len(x0), step(t, s)
    p = denoiser(x_t, t.expand(n))
    spread = (weight * (x0 - p.x0)[:, 0] ** 2).sum()
    theory, practice = [], []
    for v in (k.variance, k.b, k.variance + k.from_x0**2 * spread):
        ratio = k.variance / v
        theory.append((ratio - 1 - torch.log(ratio)) / 2 + k.from_x0**2 * spread / (2 * v))
        as_spread = ((v - k.variance) / k.from_x0**2).expand(n)
        denoiser.variance = Optimal(lambda level, v=as_spread: v)
        practice.append((weight * step_terms(denoiser, p, x0, t.expand(n), s.expand(n), schedule.chain)).sum())
    theory[2] = torch.log(1 + k.from_x0**2 * spread / k.variance) / 2  # at v* this is (D/2) log(v*/btilde)
    return torch.stack(theory), torch.stack(practice)


@check("math: L_{t-1} at btilde; Friedman eq. 35")
def step_term_is_a_difference_of_snr() -> Sides:
    """with variance btilde, L_{t-1} = (SNR_s - SNR_t) |x_0 - x0hat|^2/2, including the factor 1/2"""
    t, s = SHORT.level(torch.arange(2, 7)), SHORT.level(torch.arange(1, 6))
    x0, eps = (
        torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None],
        torch.tensor([[0.3], [-1], [2], [0.1], [-0.7]]).double(),
    )
    denoiser = line().denoiser(SHORT, "fixed_small")
    p = denoiser(diffuse(x0, eps, t), t)
    right = (torch.exp(s.log_snr) - torch.exp(t.log_snr)) * (x0 - p.x0)[:, 0] ** 2 / 2
    return right, step_terms(denoiser, p, x0, t, s, SHORT.chain), 2 * right


@check("Sedykh eq. 2.41, 2.95-2.97; Weng eq. 26")
def decoder_bins_cover_the_line() -> Sides:
    """the masses of the decoder's 256 bins sum to 1, for means inside and outside [-1, 1]"""
    x = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    masses = []
    for mean, std in ((0.0, 0.5), (0.9, 0.01), (-3.0, 0.02), (2.0, 5.0)):
        q = Gaussian(torch.full_like(x, mean), torch.full_like(x, 2 * math.log(std)))
        masses.append(torch.logsumexp(q.log_bin(x), 0))
    return torch.zeros(4), torch.stack(masses)


@check("Sedykh eq. 2.95-2.97")
def decoder_bin_is_an_integral() -> Sides:
    """p(x_0 | x_1) is the integral of N(mean, var) over [x - 1/255, x + 1/255], by quadrature"""
    x = torch.tensor([-120.5, 0.5, 60.5, 126.5], dtype=torch.float64) / 127.5
    q = Gaussian(torch.tensor(0.2).double(), torch.tensor(-1.0, dtype=torch.float64))
    inside = x[:, None] + torch.linspace(-1, 1, 2001, dtype=torch.float64) / 255
    mass = torch.trapezoid(torch.exp(log_normal(inside, torch.tensor(0.2).double(), math.exp(-1))), inside, dim=1)
    return torch.log(mass), q.log_bin(x)
