"""Schedules against their formulas."""

import math

import torch

from fromnoise.gaussian import marginal, step
from fromnoise.schedules.cosine import Cosine
from fromnoise.schedules.edm import EDM
from fromnoise.schedules.learned import Learned
from fromnoise.schedules.scaled_linear import ScaledLinear
from fromnoise.schedules.sigmoid import Sigmoid
from fromnoise.schedules.ve import VE
from fromnoise.schedules.vp import VP
from fromnoise.schedules.zero_terminal import ZeroTerminal
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import BAR, BETA, COSINE, LINEAR, hermite

T = torch.arange(0, 1001, dtype=torch.float64)


@check("Weng eq. 3; Notes eq. 21")
def linear_betas() -> Sides:
    """linear: beta_t = 1e-4 + (0.02 - 1e-4)(t - 1)/999"""
    t = torch.arange(1, 1001, dtype=torch.float64)
    return 1e-4 + (0.02 - 1e-4) * (t - 1) / 999, 1 - LINEAR.alpha[1:] ** 2 / LINEAR.alpha[:-1] ** 2


@check("Sedykh eq. 4.4-4.5")
def cosine_alpha_bar() -> Sides:
    """cosine: alpha_bar_t = f(t)/f(0) with f(t) = cos((t/T + s)/(1 + s) pi/2)^2, unless beta is clipped"""
    f = torch.cos((T / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
    return (f / f[0])[:999], COSINE.alpha[:999] ** 2


@check("Sedykh eq. 4.6")
def cosine_clips_beta() -> Sides:
    """cosine: beta_t = 1 - abar_t/abar_{t-1}, clipped at 0.999, so that beta_T is 0.999 instead of 1"""
    t = COSINE.level(T[1:])
    beta = step(t, COSINE.level(T[:-1])).b
    f = torch.cos((T / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
    raw = 1 - f[1:] / f[:-1]
    return raw.clamp_max(0.999), beta, raw


@check("Sedykh eq. 2.9, 4.6", 0)
def float32_tables() -> Sides:
    """the tables of linear-1000, cosine-1000 and cosine-4000, cast once, agree with float64 in every entry"""
    wrong = 0
    for schedule in (LINEAR, COSINE, Cosine(T=4000)):
        t, s = schedule.level(torch.arange(1, schedule.T + 1)), schedule.level(torch.arange(schedule.T))
        beta = step(t, s).b
        bar = torch.cumprod(1 - beta, 0)
        before = torch.cat([torch.ones(1, dtype=torch.float64), bar[:-1]])
        k = step(t, s)
        mine = [t.alpha, t.sigma, k.from_x0, k.from_x_t, k.variance]
        plain = [
            bar.sqrt(),
            (1 - bar).sqrt(),
            beta * before.sqrt() / (1 - bar),
            (1 - before) * (1 - beta).sqrt() / (1 - bar),
        ]
        plain.append(beta * (1 - before) / (1 - bar))
        for a, b in zip(mine, plain, strict=True):
            apart = (a.float() - b.float()).abs() / b.float().abs().clamp_min(1e-30)
            wrong += int((apart > 1.2e-7).sum())  # one unit in the last place is allowed: roundings may differ
    return 0, wrong


@check("Rombach et al. 2022")
def scaled_linear() -> Sides:
    """scaled-linear: sqrt(beta_t) rises linearly from sqrt(0.0015) to sqrt(0.0195)"""
    s = ScaledLinear(T=1000)
    beta = 1 - s.alpha[1:] ** 2 / s.alpha[:-1] ** 2
    return torch.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=torch.float64), beta.sqrt()


@check("Jabri et al. 2022")
def sigmoid() -> Sides:
    """sigmoid: alpha_bar = (g(1) - g(u))/(g(1) - g(0)) with g(u) = 1/(1 + exp(3 - 6u)), unless beta is clipped"""
    g = 1 / (1 + torch.exp(3 - 6 * T / 1000))
    return ((g[-1] - g) / (g[-1] - g[0]))[:1000], Sigmoid(T=1000).alpha[:1000] ** 2


@check("Song et al. 2021 eq. 33; Weng eq. 5")
def vp_is_an_integral() -> Sides:
    """VP: alpha(u) = exp(-1/2 int_0^u beta) with beta(u) = 0.1 + 19.9 u, also between rows"""
    u = torch.tensor([0.0, 0.0005, 0.123456, 0.5, 0.98765, 1.0], dtype=torch.float64)
    nodes = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None] * u
    integral = torch.trapezoid(0.1 + 19.9 * nodes, nodes, dim=0)
    return torch.exp(-integral / 2), VP(T=1000).level(1000 * u).alpha


@check("Song et al. 2021 eq. 33; DDPM section 4", 2e-3)
def vp_is_the_limit_of_ddpm() -> Sides:
    """DDPM's linear chain approaches VP with rates 0.1 and 20: at T = 1000 their alphas agree within 2e-3"""
    return LINEAR.alpha, VP(T=1000).alpha


@check("Sedykh eq. 3.16-3.19; Song et al. 2021 eq. 31")
def ve_is_geometric() -> Sides:
    """VE: sigma_{t+1}/sigma_t = (sigma_max/sigma_min)^(1/(T-1)), alpha = 1, prior N(0, sigma_max^2)"""
    s = VE(T=10, sigma_min=0.02, sigma_max=2.0)
    ratio = torch.full((9,), 100 ** (1 / 9), dtype=torch.float64)
    return torch.cat([ratio, torch.tensor([4.0])]), torch.cat(
        [s.sigma[2:] / s.sigma[1:-1], torch.exp(s.prior().log_var)[None]]
    )


@check("Karras et al. 2022 eq. 5")
def edm_grid() -> Sides:
    """EDM: 18 uniform steps are (s_max^(1/7) + i/17 (s_min^(1/7) - s_max^(1/7)))^7, then 0, for any T"""
    i = torch.arange(18, dtype=torch.float64)
    low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
    grid = torch.cat([(high + i / 17 * (low - high)) ** 7, torch.zeros(1)])
    return grid, EDM(T=1000).steps(18).levels.sigma


@check("Lin et al. 2023 algorithm 1; Sedykh eq. 2.39")
def zero_terminal() -> Sides:
    """rescaled to zero terminal SNR: alpha_T = 0, alpha_1 is kept, and KL(q(x_T | x_0) | N(0, 1)) = 0"""
    s = ZeroTerminal("linear")
    x0 = torch.tensor([0.9], dtype=torch.float64)
    kl = marginal(x0, s.level(1000)).kl(s.prior())
    return torch.stack([torch.tensor(0.0), LINEAR.alpha[1], torch.tensor(0.0)]), torch.stack(
        [s.alpha[-1], s.alpha[1], kl[0]]
    )


@check("Kingma et al. 2021 appendix H")
def learned_ends() -> Sides:
    """learned: the log-SNR starts at its top, ends at its bottom, and falls in between, for any weights"""
    s = Learned(T=50, top=10.0, bottom=-4.0, width=16)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in (s.inner, s.bias, s.outer, s.slope):
            p.add_(3 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
        snr = s.log_snr(torch.linspace(1, 50, 500, dtype=torch.float64))
    rising = (snr.diff() >= 0).double().sum()
    return torch.tensor([10.0, -4.0, 0.0]), torch.stack([snr[0], snr[-1], rising])


@check("Kingma et al. 2021 eq. 7")
def learned_levels_are_differentiable() -> Sides:
    """learned: d sigma_t^2 / d bottom of the shipped levels agrees with finite differences"""
    s = Learned(T=50, width=16)
    at = torch.tensor([1.0, 20.0, 50.0], dtype=torch.float64)
    (slope,) = torch.autograd.grad((s.level(at).sigma ** 2).sum(), s.bottom)
    ends = []
    with torch.no_grad():
        for shift in (1e-5, -1e-5):
            s.bottom.add_(shift)
            ends.append((s.level(at).sigma ** 2).sum())
            s.bottom.sub_(shift)
    return (ends[0] - ends[1]) / 2e-5, slope


@check("Kingma et al. 2021 eq. 2")
def at_inverts_level() -> Sides:
    """at(log_snr) returns a level with that log-SNR, for continuous and discrete schedules"""
    wanted = torch.tensor([-4.0, -1.3, 0.0, 2.5, 6.0], dtype=torch.float64)
    schedules = [LINEAR, COSINE, VP(), VE(), EDM(), Sigmoid(), ScaledLinear(), Learned(T=100, width=16)]
    with torch.no_grad():
        return wanted.repeat(len(schedules)), torch.cat([s.at(wanted).log_snr for s in schedules])


@check("Sedykh eq. 4.19; improved DDPM eq. 19")
def respaced_betas() -> Sides:
    """a subsequence has its own beta = 1 - abar_t/abar_s and its own posterior variance"""
    chain = LINEAR.steps(5)
    k = step(chain.levels[:-2], chain.levels[1:-1])
    times = chain.levels.time[:-1].long()
    t, s = BAR[times[:-1] - 1], BAR[times[1:] - 1]
    beta = 1 - t / s
    return (
        torch.stack([beta, beta * (1 - s) / (1 - t)]),
        torch.stack([k.b, k.variance]),
        torch.stack([BETA[times[:-1] - 1]] * 2),
    )


@check("Sedykh eq. 2.24, 2.38")
def the_bounds_chain_has_every_row() -> Sides:
    """the bound's chain has T steps, each to the row below, and the last to the clean row"""
    below = torch.stack([s.time for _, s in LINEAR.chain.pairs()])
    return torch.arange(999, -1, -1, dtype=torch.float64), below


@check("Karras et al. 2022 table 1", 1e-4)
def lognormal_levels() -> Sides:
    """EDM's training levels: E ln sigma = -1.2 and E ln^2 sigma = 1.2^2 + 1.2^2"""
    from fromnoise.times.lognormal import LogNormal

    nodes, weights = hermite()
    t, _ = LogNormal().draw(torch.special.ndtr(nodes), EDM())
    log_sigma = torch.log(t.sigma)
    return torch.tensor([-1.2, 2.88]), torch.stack([(weights * log_sigma).sum(), (weights * log_sigma**2).sum()])
