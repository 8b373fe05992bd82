"""The straight path: its field, the floor of its loss, couplings, and the straightness of its flow."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from fromnoise import couplings, paths
from fromnoise.denoise import Denoiser
from fromnoise.flow import scale
from fromnoise.gaussian import Level, diffuse, like
from fromnoise.objectives.simple import Simple
from fromnoise.oracle import GaussianMixture
from fromnoise.samplers.base import Sampler
from fromnoise.samplers.ddim import DDIM
from fromnoise.samplers.heun import Heun
from fromnoise.schedules.cosine import Cosine
from fromnoise.schedules.rectified import Rectified
from fromnoise.schedules.vp import VP
from fromnoise.system import rng
from fromnoise.times.lognormal import LogNormal
from fromnoise.times.mode import Mode
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import cdf, followed, hermite, line, normal

STRAIGHT = Rectified(T=1000)
M, S = 0.4, 0.6
X = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)[:, None]


def _data() -> GaussianMixture:
    """N(M, S^2)."""
    mean, variance = torch.tensor([M], dtype=torch.float64), torch.tensor([[S * S]], dtype=torch.float64)
    return GaussianMixture(torch.ones(1), mean[None], variance[None])


def _var(t: Tensor | float, s: float = S) -> Tensor:
    """The variance of x_t: (1 - t)^2 s^2 + t^2."""
    t = torch.as_tensor(t, dtype=torch.float64)
    return (1 - t) ** 2 * s * s + t * t


class _Field(nn.Module):
    """F(x, t) = e - x_0 for the pairs x_0 = M + S e, where (1 - t) x_0 + t e = x."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        t = (time.double() / 1000)[:, None]
        e = (x - (1 - t) * M) / ((1 - t) * S + t)
        return e - M - S * e


def _student() -> Denoiser:
    found = Denoiser(_Field(), STRAIGHT, "flow", shape=(1,))
    found.state_dtype = torch.float64
    return found


@check("Lipman et al. 2023 (arXiv 2210.02747), theorem 1; math: straight path")
def the_field_of_a_gaussian() -> Sides:
    """for N(m, s^2) the straight path has v(x, t) = -m + (t - (1 - t) s^2) (x - (1 - t) m) / ((1 - t)^2 s^2 + t^2)"""
    theory, practice = [], []
    for t in (0.05, 0.3, 0.5, 0.9, 1.0):
        p = _data().denoiser(STRAIGHT)(X, STRAIGHT.level(1000 * t))
        theory.append(-M + (t - (1 - t) * S * S) / _var(t) * (X - (1 - t) * M))
        practice.append(p.eps - p.x0)
    return torch.stack(theory), torch.stack(practice)


def _floor(t: Level) -> Tensor:
    """E |eps - x_0 - v|^2 for independent x_0 and eps, by Gauss-Hermite quadrature over both."""
    nodes, weights = hermite(4)  # the error is linear in both, so its square has degree 2
    z, eps = torch.meshgrid(nodes, nodes, indexing="ij")
    x0, eps = (M + S * z).reshape(-1, 1), eps.reshape(-1, 1)
    p = _data().denoiser(STRAIGHT)(diffuse(x0, eps, t), t)
    error = (eps - x0 - (p.eps - p.x0)).square()[:, 0]
    return ((weights[:, None] * weights).reshape(-1) * error).sum()


@check("math: straight path; Liu et al. 2023 (arXiv 2209.03003)")
def the_floor_of_the_flow_loss() -> Sides:
    """no network's flow loss is below E |eps - x_0 - v|^2 = s^2 / var_t, since independent paths cross"""
    times = torch.tensor([0.02, 0.2, 0.5, 0.8, 0.99], dtype=torch.float64)
    return S * S / _var(times), torch.stack([_floor(STRAIGHT.level(1000 * t)) for t in times])


@check("math: straight path")
def the_floor_over_all_times() -> Sides:
    """the floor of the flow loss, averaged over t in [0, 1], is pi s / 2"""
    nodes, weights = (torch.from_numpy(one) for one in np.polynomial.legendre.leggauss(100))
    found = torch.stack([_floor(STRAIGHT.level(500 * (1 + node))) for node in nodes])
    return math.pi * S / 2, (weights * found).sum() / 2


@check("Liu et al. 2023 (arXiv 2209.03003), theorem 3.6; math: straight path", 1e-7)
def monotone_pairs_have_no_floor() -> Sides:
    """with the monotone coupling x_0 = m + s eps, the best network's flow loss is 0 at every time"""
    eps = torch.linspace(-3.0, 3.0, 13, dtype=torch.float64)[:, None]
    x0 = couplings.build("given").pair(M + S * eps, torch.zeros_like(eps), {"noise": eps})
    losses = [Simple()(_student(), M + S * x0, STRAIGHT.level(t), eps)["loss"] for t in (1.0, 300.0, 700.0, 1000.0)]
    return 0.0, torch.stack(losses)


@check("Liu et al. 2023 (arXiv 2209.03003), section 2.2; math: straight path", 1e-7)
def one_step_of_straight_pairs_is_exact() -> Sides:
    """if the paths of the pairs are straight, one Euler step (DDIM's) leads from eps to x_0 = m + s eps"""
    eps, x0 = paths.follow(_student(), range(9), STRAIGHT.steps(1), DDIM())
    return M + S * eps, x0


@check("math: samplers; Song et al. 2021, eq. 13", 1e-7)
def the_flow_map_of_a_gaussian() -> Sides:
    """the flow maps x_t to x_r = (1 - r) m + sqrt(var_r / var_t) (x_t - (1 - t) m), for r below and above t"""
    theory, practice = [], []
    for t, r in ((0.95, 0.1), (0.1, 0.8)):
        theory.append((1 - r) * M + torch.sqrt(_var(r) / _var(t)) * (X - (1 - t) * M))
        ends = STRAIGHT.level(1000 * t), STRAIGHT.level(1000 * r)
        practice.append(followed(_data().denoiser(STRAIGHT), X, *ends, 40)[0])
    return torch.stack(theory), torch.stack(practice)


def _walked(sampler: Sampler, denoiser: Denoiser, x: Tensor, levels: Level) -> Tensor:
    state = sampler.init(x)
    for i in range(len(levels.time) - 1):
        x, state = sampler.step(denoiser, x, levels[i], levels[i + 1], state, lambda x=x: x, None)
    return x


@check("math: straight path; Esser et al. 2024 (arXiv 2403.03206)")
def its_log_snr() -> Sides:
    """on the straight path the log-SNR is 2 log((1 - t) / t); a shift m lowers it by 2 log(m)"""
    t = torch.tensor([0.001, 0.1, 0.5, 0.77, 0.999], dtype=torch.float64)
    plain = 2 * torch.log((1 - t) / t)
    shifted = Rectified(T=1000, shift=3.0).level(1000 * t).log_snr
    return torch.stack([plain, plain - 2 * math.log(3)]), torch.stack([STRAIGHT.level(1000 * t).log_snr, shifted])


@check("math: straight path")
def it_is_a_vp_path_in_other_units() -> Sides:
    """x / sqrt(alpha^2 + sigma^2) of the straight path has VP's x0hat, eps and DDIM step at the same log-SNR"""
    theory, practice, vp = [], [], VP()
    for log_snr in (-4.0, 0.0, 3.0):
        t, u = STRAIGHT.at(log_snr), vp.at(log_snr)
        one, other = line().denoiser(STRAIGHT)(like(scale(t), X) * X, t), line().denoiser(vp)(X, u)
        s, r = STRAIGHT.at(log_snr + 1), vp.at(log_snr + 1)
        mean = DDIM(0.0).step(line().denoiser(STRAIGHT), like(scale(t), X) * X, t, s, None, lambda: X, None)[0]
        theory += [other.x0, other.eps, DDIM(0.0).step(line().denoiser(vp), X, u, r, None, lambda: X, None)[0]]
        practice += [one.x0, one.eps, mean / scale(s)]
    return torch.stack(theory), torch.stack(practice)


@check("math: samplers; Karras et al. 2022 (arXiv 2206.00364)", 0.05)
def orders_on_the_straight_path() -> Sides:
    """on the straight path Euler steps (DDIM) have order 1 and Heun steps 2: from 64 and 128 steps, even in t"""
    found = []
    for sampler in (DDIM(), Heun()):
        errors = []
        for n in (64, 128):
            levels = STRAIGHT.level(torch.linspace(900.0, 100.0, n + 1, dtype=torch.float64))
            end = 0.9 * M + torch.sqrt(_var(0.1) / _var(0.9)) * (X - 0.1 * M)
            errors.append((_walked(sampler, _data().denoiser(STRAIGHT), X, levels) - end).abs().mean().item())
        found.append(math.log2(errors[0] / errors[1]))
    return torch.tensor([1.0, 2.0]), torch.tensor(found)


@check("math: straight path; Song et al. 2021, eq. 13", 1e-6)
def the_map_of_a_mixture() -> Sides:
    """for a 1-d mixture the straight flow is F_0^-1(F_1): it maps quantiles of the noise to quantiles of the data"""
    t, s = STRAIGHT.level(1000.0), STRAIGHT.at(7.0)
    end = followed(line().denoiser(STRAIGHT), X, t, s, 80)[0]
    return torch.special.ndtr(X[:, 0]).repeat(2), torch.cat([cdf(line(), X, t), cdf(line(), end, s)])


@check("Esser et al. 2024 (arXiv 2403.03206), eq. 20", 1e-9)
def times_of_the_mode() -> Sides:
    """with the times `mode`, a share u lies above t = 1 - u - s (cos^2(pi u / 2) - 1 + u), for every schedule"""
    u = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    theory, practice = [], []
    for s in (-0.5, 0.0, 0.81, 1.29):
        for schedule in (STRAIGHT, Cosine(T=1000)):
            drawn = Mode(s).draw(u, schedule)[0]
            theory.append(1 - u - s * ((1 + torch.cos(math.pi * u)) / 2 - 1 + u))
            practice.append(paths.tau(drawn))
    return torch.stack(theory), torch.stack(practice)


@check("Esser et al. 2024 (arXiv 2403.03206), eq. 19", 1e-9)
def lognormal_times_are_logit_normal() -> Sides:
    """on the straight path the times `lognormal` (mean m, std s) are logit-normal: logit(t) = m + s Phi^-1(u)"""
    u = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    logit = 0.3 + 0.8 * math.sqrt(2) * torch.erfinv(2 * u - 1)
    return 1 / (1 + torch.exp(-logit)), LogNormal(0.3, 0.8).draw(u, STRAIGHT)[0].sigma


@check("Tong et al. 2024 (arXiv 2302.00482); math: straight path")
def optimal_transport_on_a_line_sorts() -> Sides:
    """in one dimension the cheapest pairing gives the k-th smallest noise to the k-th smallest example"""
    x0, eps = (rng.normal(seed, range(64), 0, (1,), dtype=torch.float64) for seed in (1, 2))
    paired = couplings.build({"name": "optimal-transport", "group": 32}).pair(x0, eps, {})
    theory = torch.cat([_sorted_to(x0[own], eps[own]) for own in (slice(0, 32), slice(32, 64))])
    return theory, paired


def _sorted_to(x0: Tensor, eps: Tensor) -> Tensor:
    return eps.sort(0).values[x0[:, 0].argsort().argsort()]


@check("Liu et al. 2023 (arXiv 2209.03003), eq. 5", 3e-4)
def the_straightness_of_a_gaussian() -> Sides:
    """the straightness int E|y_1 - y_0 - v|^2 dtau is s (2 - pi / 2) for N(0, s^2), and 0 for its monotone pairs"""
    n = 64
    found = paths.measure(normal(S * S).denoiser(Rectified(T=100_000)), n, steps=100, batch_size=n).straightness
    square = rng.normal(0, range(n), 0, (1,), dtype=torch.float64).square().mean()
    straight = paths.measure(_student(), 8, DDIM(), steps=10).straightness
    return torch.tensor([S * (2 - math.pi / 2), 0.0]).double(), torch.stack([found / square, torch.tensor(straight)])
