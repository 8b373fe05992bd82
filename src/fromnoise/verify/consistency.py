"""Consistency models: their closed form for Gaussian data, and that every loss converges to it."""

import math

import torch
from torch import Tensor

from fromnoise import distill, parameterizations
from fromnoise.denoise import Denoiser
from fromnoise.distill.base import pseudo_huber
from fromnoise.distill.levels import above, at_ratio, ratio, truncated_snr
from fromnoise.gaussian import Level
from fromnoise.oracle import GaussianMixture
from fromnoise.parameterizations import students
from fromnoise.samplers.base import walk
from fromnoise.samplers.consistency import Consistency as ConsistencySampler
from fromnoise.schedules.edm import EDM
from fromnoise.schedules.vp import VP
from fromnoise.verify._check import Sides, check
from fromnoise.verify._linear import (
    SCHEDULES,
    Linear,
    M,
    S,
    ddim,
    down,
    fixed,
    gaussian,
    on,
    posterior,
    variance,
)
from fromnoise.verify._truth import COSINE, POINTS, Slope, line


def _end(t: Level) -> Tensor:
    """s / sqrt(var_t), the slope of the exact consistency function."""
    return S / torch.sqrt(variance(t))


@check("Song et al. 2023 (arXiv 2303.01469), section 3; math: few steps", 1e-12)
def the_boundary_holds_by_parameterization() -> Sides:
    """f(x_0, 0) = x_0 whatever the network returns: for eps, v, flow, edm and score, on five schedules"""
    x, found = POINTS[:, None], []
    for schedule in SCHEDULES:
        for kind in ("eps", "v", "flow", "edm", "score"):
            if parameterizations.build(kind).solvable(schedule.chain[0], schedule):
                found.append(Denoiser(Slope(), schedule, kind, shape=(1,))(x, schedule.chain[-1]).x0)
    return torch.stack([x] * len(found)), torch.stack(found)


@check("Song et al. 2023 (arXiv 2303.01469), algorithm 1; math: few steps", 1e-12)
def a_consistency_model_keeps_the_data_in_any_number_of_calls() -> Sides:
    """with f = m + s / sqrt(var_t) (x - alpha m) samples are N(m, s^2) after 1, 2 and 4 calls, on five schedules"""
    found = []
    for schedule in SCHEDULES:
        model = Linear(schedule, _end, student="consistency")
        for calls in (1, 2, 4):
            chain = students.build("consistency").chain(schedule, calls)
            start = torch.sqrt(variance(chain[0]))

            def end(z: float, *noises: float) -> Tensor:
                """The sample from a start z deviations off the mean, with `noises` as the sampler's noise."""
                x, own = (chain[0].alpha * M + z * start).view(1, 1), iter(noises)  # noqa: B023
                return walk(model, x, chain, ConsistencySampler(), lambda: x.new_full((1, 1), next(own)))  # noqa: B023

            none = [0.0] * (calls - 1)
            plain = end(0.0, *none)
            each_alone = [end(0.0, *(float(i == k) for i in range(calls - 1))) for k in range(calls - 1)]
            gains = torch.cat([end(1.0, *none), *each_alone]) - plain  # the map is linear in each input
            found.append([plain.item(), gains.square().sum().item()])
    return torch.tensor([[M, S * S]] * len(found), dtype=torch.float64), torch.tensor(found, dtype=torch.float64)


@check("Song et al. 2023 (arXiv 2303.01469), theorem 1; math: few steps", 1e-8)
def consistency_distillation_ends_at_eulers_map() -> Sides:
    """with Euler steps, the gradient divided by its weight is zero at the product of 6 steps, on five schedules"""
    found = []
    for schedule in SCHEDULES:
        way = distill.ConsistencyDistillation(gaussian().denoiser(schedule), 6, order=1, huber=0.0)
        grid = way.grid(schedule)
        slopes = on(grid, down(grid, lambda t, s: ddim(t, s, posterior(t))))
        found.append(fixed(way, schedule, slopes, grid.levels[:-1]) / truncated_snr(grid.levels[:-1]))
    return torch.zeros(len(found), 6), torch.stack(found)


def _heun(t: Level, s: Level) -> Tensor:
    """The factor of a Heun step of x - alpha m, in y = x / alpha over r = sigma / alpha; Euler's to the clean level."""
    ahead = ddim(t, s, posterior(t))
    eps = (1 - t.alpha * posterior(t)) / t.sigma
    other = torch.where(s.sigma > 0, (1 - s.alpha * posterior(s)) / s.sigma, 0.0) * ahead
    return torch.where(s.sigma > 0, s.alpha / t.alpha + s.alpha * (ratio(s) - ratio(t)) * (eps + other) / 2, ahead)


@check("Song et al. 2023 (arXiv 2303.01469), algorithm 2; Karras et al. 2022, algorithm 1", 1e-8)
def consistency_distillation_ends_at_heuns_map() -> Sides:
    """with Heun steps, the gradient divided by its weight is zero at the product of 6 steps, on five schedules"""
    found = []
    for schedule in SCHEDULES:
        way = distill.ConsistencyDistillation(gaussian().denoiser(schedule), 6)
        grid = way.grid(schedule)
        slopes = on(grid, down(grid, _heun))
        found.append(fixed(way, schedule, slopes, grid.levels[:-1]) / truncated_snr(grid.levels[:-1]))
    return torch.zeros(len(found), 6), torch.stack(found)


@check("Song and Dhariwal 2023 (arXiv 2310.14189), section 3; math: few steps", 1e-8)
def consistency_training_ends_at_eulers_map() -> Sides:
    """for Gaussian data and either distance, the gradient is zero at the product of the n steps, on five schedules"""
    found = []
    for schedule in SCHEDULES:
        for huber in (0.0, 0.03):
            way = distill.ConsistencyTraining(first=6, huber=huber)
            grid = way.grid(schedule, 1)
            slopes = on(grid, down(grid, lambda t, s: ddim(t, s, posterior(t))))
            scale = (ratio(grid.levels[:-1]) - ratio(grid.levels[1:])).clamp_max(1)  # undoes the weight, which is large
            found.append(scale * fixed(way, schedule, slopes, grid.levels[:-1]))
    return torch.zeros(len(found), 6), torch.stack(found)


@check("Geng et al. 2024 (arXiv 2406.14548), eq. 9; math: few steps", 1e-8)
def easy_tuning_starts_at_the_denoiser() -> Sides:
    """while r_s = 0 the loss is that of a denoiser: its gradient is zero at E[x_0 | x_t], on five schedules"""
    found = []
    for schedule in SCHEDULES:
        way = distill.EasyConsistency(huber=0.0)  # at first r_s = 0 for all r below ln 7
        levels = at_ratio(schedule, torch.tensor([0.1, 0.5, 1.9], dtype=torch.float64))
        found.append(fixed(way, schedule, posterior, levels))
    return torch.zeros(len(found), 3), torch.stack(found)


@check("Geng et al. 2024 (arXiv 2406.14548), section 3.2", 1e-12)
def easy_tunings_pairs_close_up() -> Sides:
    """r_s / r_t = 1 - (1 + 8 sigmoid(-r_t)) / 2^a but at least 0, where a grows by 1 every `double_every` steps"""
    r, theory, practice = torch.tensor([0.2, 1.0, 5.0, 30.0], dtype=torch.float64), [], []
    way, model = distill.EasyConsistency(double_every=10), Linear(COSINE, posterior)
    for step, a in ((1, 1), (10, 1), (11, 2), (45, 5)):
        t, s, _ = way.pair(model, at_ratio(COSINE, r), step)
        theory.append([max(0.0, 1 - (1 + 8 / (1 + math.exp(x))) / 2**a) for x in r.tolist()])
        practice.append(ratio(s) / ratio(t))
    return torch.tensor(theory, dtype=torch.float64), torch.stack(practice)


@check("Song and Dhariwal 2023 (arXiv 2310.14189), section 3.5 and table 1", 1e-4)
def levels_of_the_grid_are_drawn_by_the_normal_of_their_noise() -> Sides:
    """p(r_i) is the mass of N(-1.1, 2.0) between ln r_(i-1) and ln r_i; the last level takes all above it"""
    way = distill.ConsistencyTraining(first=8)
    grid = way.grid(EDM(sigma_min=1e-4), 1)
    u = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000
    drawn, _ = way.times.draw(u, EDM(sigma_min=1e-4))
    counts = torch.bincount(above(way.student.bounded(drawn, EDM(sigma_min=1e-4)), grid), minlength=8) / 40_000
    z = (torch.log(ratio(grid.levels[:-1])) + 1.1) / 2.0
    below = torch.special.ndtr(torch.cat([z[1:], torch.tensor([-torch.inf])]))
    return torch.cat([torch.ones(1), torch.special.ndtr(z[1:])]) - below, counts


@check("Song and Dhariwal 2023 (arXiv 2310.14189), section 3.4", 0.0)
def the_grid_is_doubled() -> Sides:
    """n(k) = min(10 2^floor((k - 1)/100), 1280)"""
    way = distill.ConsistencyTraining(double_every=100)
    return torch.tensor([10, 10, 20, 40, 640, 1280, 1280]), torch.tensor(
        [way.levels(k) for k in (1, 100, 101, 300, 601, 701, 10**7)]
    )


@check("Song and Dhariwal 2023 (arXiv 2310.14189), eq. 7; math: few steps", 1e-12)
def the_pseudo_huber_distance_and_its_gradient() -> Sides:
    """sqrt(|e|^2 + c^2) - c, and its gradient e / sqrt(|e|^2 + c^2)"""
    e = torch.stack([POINTS, 0.01 * POINTS.flip(0)]).requires_grad_()
    value = pseudo_huber(e, 0.03)
    (found,) = torch.autograd.grad(value.sum(), e)
    root = torch.sqrt(e.square().sum(1) + 0.03**2)
    return torch.cat([root - 0.03, (e / root[:, None]).flatten()]), torch.cat([value, found.flatten()])


def _mapped(truth: GaussianMixture, x: Tensor, t: Level) -> Tensor:
    """The distribution function F_t(x) of a 1-d mixture, which is constant along an exact path."""
    spread = (t.alpha**2 * truth.covariances[:, 0, 0] + t.sigma**2).sqrt()
    return (truth.log_weights.exp() * torch.special.ndtr((x - t.alpha * truth.means[:, 0]) / spread)).sum(1)


@check("Song et al. 2023 (arXiv 2303.01469), theorem 1; math: few steps", 0.1)
def a_consistency_students_error_has_its_solvers_order() -> Sides:
    """for a mixture the map of n steps approaches F_0^-1(F_t(x)) as n^-1 with Euler steps, as n^-2 with Heun steps"""
    truth, schedule, found = line(), VP(), []
    for order in (1, 2):
        errors = []
        for n in (128, 256):
            way = distill.ConsistencyDistillation(truth.denoiser(schedule), n, order=order, top=20.0, bottom=0.05)
            grid = way.grid(schedule)
            start = grid[0].expand(9)
            x = (
                torch.sqrt(start.alpha**2 + start.sigma**2)[:, None]
                * torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
            )
            before = _mapped(truth, x, grid[0])
            for t, s in list(grid.pairs())[:-1]:
                x = way.neighbour(x, x, x, t.expand(9), s.expand(9), None)
            errors.append((_mapped(truth, x, grid[-2]) - before).abs().mean().item())
        found.append(math.log2(errors[0] / errors[1]))
    return torch.tensor([1.0, 2.0]), torch.tensor(found)
