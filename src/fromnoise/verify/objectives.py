"""The objectives: their weights, their gradients, and their values at the optimum."""

import math

import torch
from torch import Tensor

from fromnoise.bound import path_terms, step_terms
from fromnoise.denoise import Denoiser
from fromnoise.gaussian import diffuse, step
from fromnoise.objectives.hybrid import Hybrid
from fromnoise.objectives.min_snr import MinSNR
from fromnoise.objectives.simple import Simple
from fromnoise.objectives.two_draw import TwoDraw
from fromnoise.objectives.vlb import Vlb
from fromnoise.objectives.weighted import WeightedTerm
from fromnoise.times.importance import Importance
from fromnoise.variances.optimal import Optimal
from fromnoise.variances.reverse import reverse
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import (
    BAR,
    BETA,
    GREYS,
    GRID,
    LINEAR,
    SHORT,
    Slope,
    Straight,
    hermite,
    integral,
    line,
    normal,
)


@check("Sedykh eq. 2.90-2.93, 4.17; Weng eq. 30; Friedman eq. 33")
def weight_of_eps() -> Sides:
    """L_{t-1} = beta_t^2/(2 sigma_t^2 alpha_t (1 - abar_t)) |eps - epshat|^2 + constant; sigma_t^2, not sigma_t^4"""
    t = LINEAR.level(torch.tensor([2, 57, 400, 1000]))
    i = t.time.long() - 1
    denoiser = Denoiser(Slope(), LINEAR, "eps", "fixed_large")
    x0, eps = (
        torch.tensor([[0.5], [-0.9], [0.1], [1.0]]).double(),
        torch.tensor([[-1.2], [0.3], [2.0], [-0.4]]).double(),
    )
    square = (eps - denoiser(diffuse(x0, eps, t), t).eps)[:, 0] ** 2
    got = WeightedTerm()(denoiser, x0, t, eps)["loss"] * math.log(2) / 1000
    right = BETA[i] / (2 * (1 - BETA[i]) * (1 - BAR[i])) * square
    return right, got, right / BETA[i]


@check("Sedykh eq. 2.94, 4.18; Friedman eq. 33")
def weighted_and_bound_differ_by_a_constant() -> Sides:
    """L_vlb and the weighted squared error differ equally between two models: their gap depends on no model"""
    t = LINEAR.level(torch.tensor([2, 57, 400, 1000]))
    x0, eps = (
        torch.tensor([[0.5], [-0.9], [0.1], [1.0]]).double(),
        torch.tensor([[-1.2], [0.3], [2.0], [-0.4]]).double(),
    )
    one, two = Denoiser(Slope(), LINEAR, "v", "fixed_large"), line().denoiser(LINEAR, "fixed_large")
    sides = [f(one, x0, t, eps)["loss"] - f(two, x0, t, eps)["loss"] for f in (WeightedTerm(), Vlb())]
    return sides[0] / 1000, sides[1] / 1000


@check("Sedykh eq. 2.98, 2.94; Sedykh Algorithm 1; Weng eq. 31-32; Notes eq. 6, 14; Shorts eq. 2")
def simple_loss_at_the_optimum() -> Sides:
    """for the exact denoiser E |eps - eps(x_t)|^2 = (alpha^2/sigma^2) E tr Cov[x_0 | x_t], which no network can beat"""
    t, truth = LINEAR.level(300), line()
    density, cov = torch.exp(truth.log_prob(GRID[:, None], t)), truth.moments(GRID[:, None], t)[1][:, 0, 0]
    floor = t.alpha**2 / t.sigma**2 * integral(density * cov)
    nodes, weights = hermite(120)
    loss = torch.zeros((), dtype=torch.float64)
    denoiser = truth.denoiser(LINEAR)
    for w, m, v in zip(truth.log_weights.exp(), truth.means[:, 0], truth.covariances[:, 0, 0], strict=True):
        x0 = (m + v.sqrt() * nodes).repeat_interleave(120)[:, None]
        eps = nodes.repeat(120)[:, None]
        each = Simple()(denoiser, x0, t.expand(len(x0)), eps)["loss"]
        loss = loss + w * (weights.repeat_interleave(120) * weights.repeat(120) * each).sum()
    return floor, loss * t.alpha**2 / t.sigma**2  # the oracle predicts x0


@check("Hang et al. 2023 eq. 8")
def min_snr_weight() -> Sides:
    """the min-SNR loss is min(SNR, 5)/SNR times the squared error of eps"""
    t = LINEAR.level(torch.tensor([2, 57, 400, 1000]))
    x0, eps = (
        torch.tensor([[0.5], [-0.9], [0.1], [1.0]]).double(),
        torch.tensor([[-1.2], [0.3], [2.0], [-0.4]]).double(),
    )
    denoiser = Denoiser(Slope(), LINEAR, "eps")
    snr = torch.exp(t.log_snr)
    return snr.clamp_max(5) / snr * Simple()(denoiser, x0, t, eps)["loss"], MinSNR()(denoiser, x0, t, eps)["loss"]


@check("Sedykh eq. 4.2")
def hybrid_stops_the_gradient() -> Sides:
    """L_hybrid has L_simple's gradient with respect to the predicted mean: the bound teaches only the variance"""

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor([0.8, 0.3], dtype=torch.float64))

        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            return torch.cat([self.w[0] * torch.tanh(x), self.w[1] * torch.cos(x)], 1)

    network = Two()
    denoiser = Denoiser(network, SHORT, "eps", "learned_range")
    t = SHORT.level(torch.tensor([2, 3, 5]))
    x0, eps = torch.tensor([[0.5], [-0.9], [0.1]]).double(), torch.tensor([[-1.2], [0.3], [2.0]]).double()
    slopes = []
    for objective in (Simple(), Hybrid(weight=0.5), Vlb()):
        (g,) = torch.autograd.grad(objective(denoiser, x0, t, eps)["loss"].sum(), network.w)
        slopes.append(g[0])
    return slopes[0], slopes[1], slopes[0] + 0.5 * slopes[2]


@check("Sedykh eq. 4.3")
def importance_sampling_is_unbiased() -> Sides:
    """sum_t p_t L_t/(T p_t) = mean_t L_t, with p_t proportional to sqrt(E L_t^2) of the last ten losses"""
    sampling, schedule = Importance(), SHORT
    losses = torch.tensor([5.0, 0.1, 2.0, 0.02, 0.7, 1.0], dtype=torch.float64)
    for _ in range(10):
        sampling.observe(schedule.level(torch.arange(1, 7)), losses, schedule)
    p = sampling.probabilities(6)
    u = torch.cat([torch.zeros(1), torch.cumsum(p, 0)[:-1]]).double() + p / 2  # the middle of each row's interval
    t, weight = sampling.draw(u, schedule)
    mean = (p * weight * losses[t.time.long() - 1]).sum()
    expected = torch.cat([0.999 * losses / losses.sum() + 0.001 / 6, losses.mean()[None]])
    return expected, torch.cat([p, mean[None]])


def path_quadrature(row: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and variance of the path form, then of the posterior form, of L_t over x_0 = +-1/2 and the noise."""
    nodes, weights = hermite(8)  # exact: the network is linear, so everything is a polynomial
    denoiser, n = Denoiser(Straight(), SHORT, "v", "fixed_large"), 8
    three = torch.cartesian_prod(nodes, nodes, nodes)
    w = torch.cartesian_prod(weights, weights, weights).prod(1)
    out = []
    for value in (-0.5, 0.5):
        x0 = torch.full((n**3, 1), value, dtype=torch.float64)
        t = SHORT.level(torch.full((n**3,), row))
        out.append(path_terms(denoiser, x0, t, three[:, :, None], SHORT.chain))
    path, both = torch.cat(out), torch.cat([w, w]) / 2
    closed = []
    for value in (-0.5, 0.5):
        x0 = torch.full((n, 1), value, dtype=torch.float64)
        t = SHORT.level(torch.full((n,), row))
        p = denoiser(diffuse(x0, nodes[:, None], t), t)
        closed.append(step_terms(denoiser, p, x0, t, SHORT.chain.below(t), SHORT.chain))
    posterior_form, each = torch.cat(closed), torch.cat([weights, weights]) / 2
    a, b = (both * path).sum(), (each * posterior_form).sum()
    return a, (both * path**2).sum() - a**2, b, (each * posterior_form**2).sum() - b**2


@check("Friedman eq. 15-18; math: three-draw estimator")
def path_form_has_the_bounds_mean() -> Sides:
    """E[log q(x_t|x_{t-1}) - log p(x_t|x_{t+1})] = E L_t + log(btilde_{t+1}/beta_t)/2 at every t:
    both forms have the same total"""
    theory, practice = [], []
    for row in range(2, 7):
        k, below = step(SHORT.level(row), SHORT.level(row - 1)), step(SHORT.level(row - 1), SHORT.level(row - 2))
        path, _, closed, _ = path_quadrature(row)
        theory.append(closed + torch.log(k.variance / below.b) / 2)
        practice.append(path)
    return torch.stack(theory), torch.stack(practice)


@check("Friedman eq. 15-18")
def path_constants_are_the_priors() -> Sides:
    """sum_t log(btilde_{t+1}/beta_t)/2 = log(beta_T/sigmabar_T^2)/2, the difference between the two prior terms"""
    total = torch.zeros((), dtype=torch.float64)
    for row in range(2, 7):
        k, below = step(SHORT.level(row), SHORT.level(row - 1)), step(SHORT.level(row - 1), SHORT.level(row - 2))
        total = total + torch.log(k.variance / below.b) / 2
    last = step(SHORT.level(6), SHORT.level(5))
    return torch.log(last.b / SHORT.level(6).sigma ** 2) / 2, total


@check("Friedman eq. 18", 0)
def path_form_has_more_variance() -> Sides:
    """the path form of L_t has the larger variance at every t (0 exceptions)"""
    exceptions = 0
    for row in range(2, 7):
        _, path, _, closed = path_quadrature(row)
        exceptions += int(path <= closed)
    return 0, exceptions


@check("Friedman eq. 16-17", 2e-3)
def the_printed_simple_variant_is_a_wrong_chain() -> Sides:
    """the path form's minimiser is E[x_t | x_{t+1}]; the printed form's turns N(0, 1) into a variance of 0.333"""
    right = wrong = torch.ones((), dtype=torch.float64)
    best = Optimal(lambda t: t.sigma**2 / (t.alpha**2 + t.sigma**2))
    denoiser, one = normal(1.0).denoiser(LINEAR), torch.ones(1, 1, dtype=torch.float64)
    for t, s in LINEAR.chain.pairs():
        model = reverse(denoiser(one, t), t, s, best, LINEAR.chain)
        right = model.mean**2 * right + torch.exp(model.log_var)
        before = LINEAR.level(max(s.time.item() - 1, 0))
        gamma2 = 1.0 if s.is_clean else (s.alpha / before.alpha) ** 2
        wrong = (gamma2 * t.alpha / s.alpha) ** 2 * wrong + (0.0 if s.is_clean else step(s, before).b)
    return torch.tensor([1.0, 0.333]), torch.stack([right.squeeze(), wrong])


@check("Friedman eq. 15; Friedman eq. 21")
def two_draw_objective_ends_on_the_decoder() -> Sides:
    """at t = 1 the two-draw objective equals L_vlb: -T log p(x_0 | x_1), in bits"""
    denoiser = Denoiser(Slope(), SHORT, "v", "fixed_large")
    x0, eps = GREYS[:, None], torch.linspace(-1.5, 1.5, 8, dtype=torch.float64)[:, None]
    t = SHORT.level(torch.ones(8))
    three = torch.stack([torch.zeros_like(eps), torch.zeros_like(eps), eps], 1)
    return Vlb()(denoiser, x0, t, eps)["loss"], TwoDraw()(denoiser, x0, t, three)["loss"]
