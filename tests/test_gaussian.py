"""Steps between levels against Bayes' rule, simulation, and other people's arithmetic."""

import math

import mpmath
import pytest
import torch
from conftest import line_mixture
from torch.distributions import Normal, kl_divergence

import fromnoise as fn
from fromnoise.gaussian import Gaussian, diffuse, forward, marginal, posterior, step

SCHEDULES = [
    fn.schedules.Linear(T=1000),
    fn.schedules.Cosine(T=100),
    fn.schedules.GeneralChain([0.9, 0.8, 1.1, 0.7], [0.2, 0.5, 0.3, 0.9]),
]
PAIRS = [(1, 0), (2, 1), (3, 1), (4, 2)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_forward_composes_with_marginal(schedule, t, s):
    """q(x_t | x_0) = integral of q(x_t | x_s) q(x_s | x_0): means and variances of the composed Gaussians."""
    lt, ls = schedule.level(t), schedule.level(s)
    x0 = torch.tensor([0.7], dtype=torch.float64)
    direct = marginal(x0, lt)
    at_s = marginal(x0, ls)
    stepped = forward(at_s.mean, ls, lt)
    k = step(lt, ls)
    torch.testing.assert_close(stepped.mean, direct.mean, rtol=1e-13, atol=0)
    torch.testing.assert_close(k.a**2 * at_s.log_var.exp() + k.b, direct.log_var.exp(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("t", "s"), PAIRS[1:])
def test_posterior_is_bayes_rule(schedule, t, s, generator):
    """q(x_s | x_t, x_0) q(x_t | x_0) = q(x_t | x_s) q(x_s | x_0), at any three points (Sedykh eq. 2.43)."""
    lt, ls = schedule.level(t), schedule.level(s)
    x0, x_s, x_t = torch.randn(3, 50, dtype=torch.float64, generator=generator)
    left = posterior(x0, x_t, lt, ls).log_prob(x_s) + marginal(x0, lt).log_prob(x_t)
    right = forward(x_s, ls, lt).log_prob(x_t) + marginal(x0, ls).log_prob(x_s)
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


def test_posterior_is_ddpms():
    """Sedykh eq. 2.68 in alpha_t and alpha_bar_t, and not the wrong forms that the seeds also write."""
    schedule = fn.schedules.Linear(T=1000)
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    bar = torch.cumprod(1 - beta, 0)
    for t in (2, 3, 500, 1000):
        k = step(schedule.level(t), schedule.level(t - 1))
        alpha, now, before = 1 - beta[t - 1], bar[t - 1], bar[t - 2]
        assert k.b.item() == pytest.approx(beta[t - 1].item(), rel=1e-11)
        assert k.from_x_t.item() == pytest.approx((alpha.sqrt() * (1 - before) / (1 - now)).item(), rel=1e-9)
        assert k.from_x0.item() == pytest.approx((before.sqrt() * beta[t - 1] / (1 - now)).item(), rel=1e-9)
        tilde = (1 - before) / (1 - now) * beta[t - 1]
        assert k.variance.item() == pytest.approx(tilde.item(), rel=1e-9)
        assert k.variance.item() != pytest.approx(((1 - before) / (1 - now)).item(), rel=1e-3)  # Sedykh 2.2 as read
        friedman = (1 - before) - beta[t - 1] / (1 - before)  # kappa^2 as printed
        assert k.variance.item() != pytest.approx(friedman.item(), rel=1e-3)


def test_first_step_is_the_data():
    schedule = fn.schedules.Linear()
    got = posterior(torch.tensor([0.3]), torch.tensor([0.5]), schedule.level(1), schedule.level(0))
    assert got.mean.item() == pytest.approx(0.3)
    assert got.log_var.item() == -math.inf


def test_b_has_no_cancellation():
    """b of neighbouring rows against 60 digits, where sigma_t^2 - a^2 sigma_s^2 in float64 loses most of its own."""
    schedule = fn.schedules.Linear(T=1000)
    with mpmath.workdps(60):
        for t, s in ((2, 1), (3, 2), (1000, 999)):
            lt, ls = schedule.level(t), schedule.level(s)
            at, st, as_, ss = (mpmath.mpf(v.item()) for v in (lt.alpha, lt.sigma, ls.alpha, ls.sigma))
            exact = st**2 - (at / as_) ** 2 * ss**2
            assert float(abs(step(lt, ls).b.item() / exact - 1)) < 5e-12


def test_a_step_needs_a_cleaner_end():
    schedule = fn.schedules.Linear(T=10)
    for t, s in ((3, 3), (3, 4), (0, 0)):
        with pytest.raises(ValueError, match="s < t"):
            step(schedule.level(t), schedule.level(s))


def test_batched_levels_are_scalar_levels(generator):
    schedule = fn.schedules.Cosine(T=50)
    x0 = torch.randn(3, 2, 4, 4, dtype=torch.float64, generator=generator)
    x_t = torch.randn(3, 2, 4, 4, dtype=torch.float64, generator=generator)
    t, s = torch.tensor([5.0, 20.0, 50.0]), torch.tensor([1.0, 19.0, 7.0])
    both = posterior(x0, x_t, schedule.level(t), schedule.level(s))
    for i in range(3):
        one = posterior(x0[i : i + 1], x_t[i : i + 1], schedule.level(t[i].item()), schedule.level(s[i].item()))
        assert torch.equal(both.mean[i], one.mean[0])
        assert both.log_var[i].item() == one.log_var.item()


def test_gaussian_against_torch_distributions(generator):
    mean, other = torch.randn(2, 9, dtype=torch.float64, generator=generator)
    log_var, other_log_var = torch.randn(2, 9, dtype=torch.float64, generator=generator)
    ours, theirs = Gaussian(mean, log_var), Normal(mean, (log_var / 2).exp())
    x = torch.randn(9, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))
    target = Normal(other, (other_log_var / 2).exp())
    torch.testing.assert_close(ours.kl(Gaussian(other, other_log_var)), kl_divergence(theirs, target))
    assert torch.equal(ours.kl(ours), torch.zeros(9, dtype=torch.float64))
    torch.testing.assert_close(ours.sample(torch.ones(9, dtype=torch.float64)), mean + (log_var / 2).exp())


def test_simulated_chain_has_the_closed_form(generator):
    """10,000 walks of x_t = gamma_t x_{t-1} + sigma_t eps have gammabar_t and sigmabar_t (Friedman)."""
    gamma, sigma = [0.95, 0.9, 0.8, 0.7], [0.3, 0.4, 0.5, 0.6]
    schedule = fn.schedules.GeneralChain(gamma, sigma)
    x = torch.full((10_000,), 1.5, dtype=torch.float64)
    for t, (g, s) in enumerate(zip(gamma, sigma, strict=True), start=1):
        x = g * x + s * torch.randn(len(x), dtype=torch.float64, generator=generator)
        level = schedule.level(t)
        error = level.sigma.item() / 100
        assert x.mean().item() == pytest.approx(1.5 * level.alpha.item(), abs=4 * error)
        assert x.std().item() == pytest.approx(level.sigma.item(), rel=0.03)


def test_diffuse_draws_from_the_marginal(generator):
    schedule = fn.schedules.Linear()
    x0, eps = torch.randn(2, 5, 3, generator=generator)
    level = schedule.level(torch.tensor([1.0, 10.0, 100.0, 500.0, 1000.0]))
    torch.testing.assert_close(diffuse(x0, eps, level), marginal(x0, level).sample(eps))
    assert diffuse(x0, eps, level).dtype == torch.float32


def test_mixture_marginal_is_the_simulated_one(generator):
    """The oracle's q(x_t), alpha x_0 + sigma eps by simulation, and its CDF agree (Kolmogorov-Smirnov)."""
    truth, level = line_mixture(), fn.schedules.Linear().level(300)
    x0 = truth.sample(20_000, generator)
    x = diffuse(x0, torch.randn(x0.shape, dtype=torch.float64, generator=generator), level).flatten().sort().values
    grid = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    cdf = torch.cumulative_trapezoid(truth.log_prob(grid[:, None], level).exp(), grid)
    empirical = torch.searchsorted(x, grid[1:]) / len(x)
    assert (cdf - empirical).abs().max().item() < 1.63 / math.sqrt(len(x))  # 1 % point
