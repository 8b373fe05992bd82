"""Score matching and Langevin dynamics."""

import torch
from torch import Tensor

from fromnoise.denoise import Denoiser
from fromnoise.gaussian import diffuse
from fromnoise.langevin import annealed, langevin
from fromnoise.objectives.base import Objective
from fromnoise.objectives.denoising import Denoising
from fromnoise.objectives.exact import Exact
from fromnoise.objectives.score_matching import energy_score
from fromnoise.objectives.simple import Simple
from fromnoise.objectives.sliced import Sliced
from fromnoise.schedules.ve import VE
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import GRID, LINEAR, POINTS, Straight, hermite, integral, line, normal

LEVEL = LINEAR.level(300)
ONE = torch.ones(1, 1, dtype=torch.float64)


class Bent(torch.nn.Module):
    """A second wrong score: -1.3 x + 0.1."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return -1.3 * x + 0.1


def _fisher(network: torch.nn.Module) -> Tensor:
    """sigma^2 E|s - grad log q(x_t)|^2 / 2 for the 1-d mixture, by quadrature."""
    truth = line()
    density, score = torch.exp(truth.log_prob(GRID[:, None], LEVEL)), truth.score(GRID[:, None], LEVEL)[:, 0]
    wrong = network(GRID[:, None], torch.zeros(1))[:, 0]
    return LEVEL.sigma**2 * integral(density * (wrong - score) ** 2) / 2


def _expected(objective: Objective, network: torch.nn.Module) -> Tensor:
    """The objective's mean over the 1-d mixture and all of its draws; exact, since the networks are linear."""
    nodes, weights = hermite(6)
    truth, total = line(), torch.zeros((), dtype=torch.float64)
    denoiser = Denoiser(network, LINEAR, "score")
    grid = torch.cartesian_prod(*[nodes] * (1 + objective.draws))
    weight = torch.cartesian_prod(*[weights] * (1 + objective.draws)).prod(1)
    for w, m, v in zip(truth.log_weights.exp(), truth.means[:, 0], truth.covariances[:, 0, 0], strict=True):
        x0 = (m + v.sqrt() * grid[:, 0])[:, None]
        noise = grid[:, 1:, None] if objective.draws > 1 else grid[:, 1:]
        loss = objective(denoiser, x0, LEVEL.expand(len(x0)), noise)["loss"]
        total = total + w * (weight * loss).sum()
    return total


@check("Sedykh eq. 3.1-3.7; Weng eq. 13")
def energy_needs_no_constant() -> Sides:
    """the score of exp(-f)/Z is -grad f for any Z, here f = x^4/4 - x^2, by differences of the log-density"""
    f = lambda x: (x**4 / 4 - x**2).sum(1)  # noqa: E731
    log_z = torch.log(integral(torch.exp(-f(GRID[:, None]))))
    log_p = lambda x: -f(x) - log_z  # noqa: E731
    x, h = POINTS[:, None], 1e-4
    slope = (log_p(x - 2 * h) - 8 * log_p(x - h) + 8 * log_p(x + h) - log_p(x + 2 * h)) / (12 * h)
    return slope[:, None], energy_score(f, x)


@check("Sedykh eq. 3.8-3.10; Hyvarinen 2005")
def exact_score_matching() -> Sides:
    """E[tr(grad s) + |s|^2/2] differs from the Fisher divergence by a constant, the same for two models"""
    return _fisher(Straight()) - _fisher(Bent()), _expected(Exact(), Straight()) - _expected(Exact(), Bent())


@check("Sedykh eq. 3.12-3.13; Song et al. 2019")
def sliced_score_matching() -> Sides:
    """E[v' grad(v' s) + |s|^2/2] = E[tr(grad s) + |s|^2/2], both with |s|^2 and with (v' s)^2"""
    exact = _expected(Exact(), Bent())
    return exact.expand(2), torch.stack([_expected(Sliced(reduced=r), Bent()) for r in (True, False)])


@check("Sedykh eq. 3.11, 3.19-3.20; Vincent 2011")
def denoising_score_matching() -> Sides:
    """E|s(x_t) - grad log q(x_t | x_0)|^2/2 with the gradient over x_t is the Fisher divergence plus a constant"""
    right = _fisher(Straight()) - _fisher(Bent())
    got = _expected(Denoising(), Straight()) - _expected(Denoising(), Bent())
    printed = _expected(_Flipped(), Straight()) - _expected(_Flipped(), Bent())
    return right, got, printed


class _Flipped(Denoising):
    """Denoising score matching with the gradient over x_0 instead of x_t, which has the opposite sign."""

    def __call__(self, denoiser, x0, t, noise, cond=None, chain=None) -> dict[str, Tensor]:  # noqa: ANN001
        score = denoiser(diffuse(x0, noise, t), t, cond).score
        return {"loss": (t.sigma[:, None] * score - noise).square().flatten(1).sum(1) / 2}


@check("Sedykh eq. 3.19-3.21, 3.28-3.29; Sedykh eq. 2.98")
def ddpm_is_ncsn() -> Sides:
    """for a network that predicts eps, NCSN's loss with lambda = sigma^2 is D/2 times L_simple, term by term"""
    denoiser = Denoiser(Straight(), LINEAR, "eps")
    x0, eps = (
        torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3),
        torch.cos(torch.arange(12.0).double()).view(4, 3),
    )
    t = LINEAR.level(torch.tensor([1, 57, 400, 1000]))
    return 1.5 * Simple()(denoiser, x0, t, eps)["loss"], Denoising()(denoiser, x0, t, eps)["loss"]


@check("Sedykh eq. 3.16-3.18")
def noise_conditional_score() -> Sides:
    """the exact denoiser's score is the gradient of log q_sigma(x) = log int p(y) N(x; y, sigma^2) dy at every sigma"""
    ladder, truth = VE(T=10, sigma_min=0.1, sigma_max=3.0), normal(0.25)
    rows = [ladder.level(t) for t in (1, 4, 10)]
    x = POINTS[:, None]
    theory = [-x / (0.25 + level.sigma**2) for level in rows]
    return torch.stack(theory), torch.stack([truth.denoiser(ladder)(x, level).score for level in rows])


def _gain(step: float, var: float) -> Tensor:
    return langevin(lambda x: -x / var, ONE, step, 1, lambda: 0 * ONE).squeeze()


@check("Sedykh eq. 3.14-3.15; Weng eq. 13; math: Langevin")
def langevins_bias() -> Sides:
    """Langevin on N(0, s^2) has stationary variance s^2/(1 - step/(4 s^2)), from v = gain^2 v + step"""
    theory, practice = [], []
    for var, step in ((0.25, 0.01), (0.25, 0.5), (1.0, 3.0)):
        noise = langevin(lambda x, v=var: -x / v, 0 * ONE, step, 1, lambda: ONE).squeeze()
        practice.append(noise**2 / (1 - _gain(step, var) ** 2))
        theory.append(var / (1 - step / (4 * var)))
    return torch.tensor(theory, dtype=torch.float64), torch.stack(practice)


@check("math: Langevin", 0)
def langevins_limit() -> Sides:
    """Langevin dynamics on N(0, s^2) is stable for steps below 4 s^2 and unstable above"""
    return torch.tensor([1.0, 0.0]), torch.stack([(_gain(s, 0.25).abs() < 1).double() for s in (0.99, 1.01)])


def _annealed_variance(levels: list, n: int, step: float) -> Tensor:
    """The exact variance at the end, from a start N(0, 1), for data N(0, 0.25).

    The map is linear, so one run of a batch gives the contributions of the start (row 0) and of every draw (one row
    each).
    """
    truth, calls = normal(0.25), iter(range(1, n * len(levels) + 1))
    x = torch.zeros(n * len(levels) + 1, 1, dtype=torch.float64)
    x[0] = 1

    def noise() -> Tensor:
        z = torch.zeros_like(x)
        z[next(calls)] = 1
        return z

    return annealed(lambda y, level: truth.score(y, level), x, levels, n, step, noise).square().sum()


@check("Sedykh Algorithm 3")
def annealed_needs_a_falling_ladder() -> Sides:
    """Algorithm 3 on N(0, 0.25), sigma falling from 1 to 0.01: v <- (1 - a/(2 (0.25 + sigma^2)))^2 v + a ends at 0.252;
    a rising ladder ends elsewhere and is refused"""
    ladder = VE(T=10, sigma_min=0.01, sigma_max=1.0)
    falling = [ladder.level(t) for t in range(10, 0, -1)]

    def by_hand(levels: list) -> Tensor:
        v = torch.ones((), dtype=torch.float64)
        for level in levels:
            a = 1e-3 * (level.sigma / levels[-1].sigma) ** 2
            for _ in range(60):
                v = (1 - a / (2 * (0.25 + level.sigma**2))) ** 2 * v + a
        return v

    refused = 0.0
    try:
        annealed(lambda y, level: y, ONE, falling[::-1], 1, 1e-3, lambda: ONE)
    except ValueError:
        refused = 1.0
    practice = torch.stack([_annealed_variance(falling, 60, 1e-3), torch.tensor(refused, dtype=torch.float64)])
    theory, printed = ([v, torch.tensor(1.0)] for v in (by_hand(falling), by_hand(falling[::-1])))
    assert abs(theory[0] - 0.252) < 1e-3
    return torch.stack([v.double() for v in theory]), practice, torch.stack([v.double() for v in printed])


@check("Sedykh Algorithm 3")
def annealed_steps() -> Sides:
    """the step sizes are step sigma_i^2/sigma_L^2; the published code takes twice the step that the paper writes"""
    ladder, truth = VE(T=4, sigma_min=0.1, sigma_max=1.0), normal(0.25)
    levels = [ladder.level(t) for t in (4, 3, 2, 1)]
    score = lambda x, level: truth.score(x, level)  # noqa: E731
    theory, practice = [], []
    for convention, factor in (("written", 1.0), ("code", 2.0)):
        x = ONE
        for level in levels:
            a = factor * 1e-3 * (level.sigma / 0.1) ** 2
            x = x - a / 2 * x / (0.25 + level.sigma**2) + a.sqrt() * 0.3
        theory.append(x)
        practice.append(annealed(score, ONE, levels, 1, 1e-3, lambda: 0.3 * ONE, convention))
    return torch.stack(theory), torch.stack(practice)
