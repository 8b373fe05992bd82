"""The oracles against automatic differentiation, quadrature and simulation."""

import pytest
import torch
from conftest import line_mixture, plane_mixture
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

import fromnoise as fn
from fromnoise.gaussian import diffuse

SCHEDULE = fn.schedules.Linear(T=1000)
TIMES = [1, 50, 300, 1000]


@pytest.mark.parametrize("time", TIMES)
def test_density_is_torch_distributions(time, generator):
    truth, level = plane_mixture(), SCHEDULE.level(time)
    cov = level.alpha**2 * truth.covariances + level.sigma**2 * torch.eye(2, dtype=torch.float64)
    theirs = MixtureSameFamily(
        Categorical(logits=truth.log_weights), MultivariateNormal(level.alpha * truth.means, covariance_matrix=cov)
    )
    x = torch.randn(40, 2, dtype=torch.float64, generator=generator) * 2
    torch.testing.assert_close(truth.log_prob(x, level), theirs.log_prob(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("time", TIMES)
def test_score_and_posterior_mean(time, generator):
    """score = grad log q (autograd); E[x_0 | x] = (x + sigma^2 score)/alpha; d x0hat/dx = alpha/sigma^2 Cov."""
    truth, level = plane_mixture(), SCHEDULE.level(time)
    x = torch.randn(30, 2, dtype=torch.float64, generator=generator).requires_grad_()
    (score,) = torch.autograd.grad(truth.log_prob(x, level).sum(), x)
    torch.testing.assert_close(truth.score(x, level), score, rtol=1e-9, atol=1e-9)
    x0, cov = truth.moments(x, level)
    tweedie = (x + level.sigma**2 * score) / level.alpha
    torch.testing.assert_close(x0, tweedie, rtol=1e-8, atol=1e-8)
    rows = [torch.autograd.grad(x0[:, i].sum(), x, retain_graph=True)[0] for i in range(2)]
    jacobian = torch.stack(rows, 1)
    torch.testing.assert_close(jacobian, level.alpha / level.sigma**2 * cov, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("time", [50, 300, 1000])
def test_posterior_moments_by_quadrature(time):
    truth, level = line_mixture(), SCHEDULE.level(time)
    grid = torch.linspace(-4, 4, 20_001, dtype=torch.float64)
    prior = truth.log_prob(grid[:, None], SCHEDULE.level(0))
    for x in (-1.0, 0.2, 2.0):
        joint = (prior - (x - level.alpha * grid) ** 2 / (2 * level.sigma**2)).exp()
        mean = torch.trapezoid(joint * grid, grid) / torch.trapezoid(joint, grid)
        var = torch.trapezoid(joint * (grid - mean) ** 2, grid) / torch.trapezoid(joint, grid)
        x0, cov = truth.moments(torch.tensor([[x]], dtype=torch.float64), level)
        assert x0.item() == pytest.approx(mean.item(), abs=1e-9)
        assert cov.item() == pytest.approx(var.item(), abs=1e-9)


def test_expected_covariance_identity(generator):
    """E tr Cov = (sigma^2/alpha^2)(D - sigma^2 E|score|^2), by simulation."""
    truth, level = plane_mixture(), SCHEDULE.level(200)
    x0 = truth.sample(40_000, generator)
    x = diffuse(x0, torch.randn(x0.shape, dtype=torch.float64, generator=generator), level)
    left = truth.moments(x, level)[1].diagonal(dim1=1, dim2=2).sum(1).mean()
    right = level.sigma**2 / level.alpha**2 * (2 - level.sigma**2 * truth.score(x, level).square().sum(1).mean())
    assert left.item() == pytest.approx(right.item(), rel=0.02)


def test_samples_have_the_moments(generator):
    truth = plane_mixture()
    x = truth.sample(50_000, generator)
    mean, cov = truth.mean_and_covariance()
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=0.02)
    torch.testing.assert_close(torch.cov(x.T), cov, rtol=0, atol=0.03)


def test_the_denoiser_is_an_ordinary_one(generator):
    truth = plane_mixture()
    denoiser = truth.denoiser(SCHEDULE)
    assert isinstance(denoiser, fn.Denoiser)
    level = SCHEDULE.level(torch.tensor([10.0, 500.0, 999.0]))
    x = torch.randn(3, 2, dtype=torch.float64, generator=generator)
    p = denoiser(x, level)
    torch.testing.assert_close(p.score, truth.score(x, level), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(p.eps, -level.sigma[:, None] * p.score, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(p.v, level.alpha[:, None] * p.eps - level.sigma[:, None] * p.x0)


def test_clean_level_returns_the_data():
    truth = plane_mixture()
    x = torch.tensor([[0.3, -0.4]], dtype=torch.float64)
    x0, cov = truth.moments(x, SCHEDULE.level(0))
    assert torch.equal(x0, x)
    assert not cov.any()
    finite = fn.oracle.FiniteData(torch.zeros(3, 2))
    assert torch.equal(finite.mean(x, SCHEDULE.level(0)), x)


@pytest.mark.parametrize("time", TIMES)
def test_finite_data_is_a_mixture_of_points(time, generator):
    points = torch.randn(12, 2, dtype=torch.float64, generator=generator)
    finite = fn.oracle.FiniteData(points)
    mixture = fn.oracle.GaussianMixture(torch.ones(12), points, torch.zeros(12, 2, 2))
    level = SCHEDULE.level(time)
    x = diffuse(points[:6], torch.randn(6, 2, dtype=torch.float64, generator=generator), level)
    same = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(finite.log_prob(x, level), mixture.log_prob(x, level), **same)
    torch.testing.assert_close(finite.mean(x, level), mixture.moments(x, level)[0], **same)
    torch.testing.assert_close(finite.score(x, level), mixture.score(x, level), **same)
    torch.testing.assert_close(finite.responsibilities(x, level), mixture.responsibilities(x, level), **same)


def test_finite_data_keeps_the_shape_of_images(generator):
    images = torch.rand(5, 1, 4, 4, generator=generator)
    denoiser = fn.oracle.FiniteData(images).denoiser(fn.schedules.Cosine(T=20))
    drawn = fn.sample(denoiser, 3, "ddim", steps=20)
    assert drawn.shape == (3, 1, 4, 4)
    distance = (drawn[:, None] - images.double()).flatten(2).norm(dim=2).min(1).values
    assert distance.max().item() < 1e-6  # the empirical denoiser only ever draws what it has seen


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="covariances"):
        fn.oracle.GaussianMixture(torch.ones(2), torch.zeros(2, 3), torch.zeros(2, 3))
