"""The exact denoisers of a Gaussian mixture and of a finite set of points."""

import torch

from fromnoise.gaussian import step
from fromnoise.oracle import FiniteData, GaussianMixture
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import COSINE, GRID, LINEAR, POINTS, integral, line, log_normal, plane

LEVEL = LINEAR.level(300)
X = POINTS[:, None]


def _joint() -> torch.Tensor:
    """q(x_t, x_0) at the five POINTS and on GRID, from the mixture's data density: [5, GRID]."""
    data = sum(w * torch.exp(log_normal(GRID, m, v)) for w, m, v in _parts())
    return data * torch.exp(log_normal(X, LEVEL.alpha * GRID, LEVEL.sigma**2))


def _parts() -> list[tuple[float, torch.Tensor, torch.Tensor]]:
    truth = line()
    return list(zip(truth.log_weights.exp().tolist(), truth.means[:, 0], truth.covariances[:, 0, 0], strict=True))


@check("Sedykh eq. 2.10, 3.16; math: log p_t")
def marginal_density() -> Sides:
    """log q(x_t) = log int q(x_t | x_0) q(x_0) dx_0, by quadrature"""
    return torch.log(integral(_joint())), line().log_prob(X, LEVEL)


@check("Sedykh eq. 3.2; math: score")
def score_is_the_gradient() -> Sides:
    """score = grad log q(x_t), by automatic differentiation in the plane"""
    x = torch.tensor([[0.3, -1.0], [1.2, 0.4], [-0.7, 0.9]], dtype=torch.float64, requires_grad=True)
    sigma, alpha, truth = LEVEL.sigma, LEVEL.alpha, plane()
    terms = []
    for w, m, s in zip(truth.log_weights, truth.means, truth.covariances, strict=True):
        c = alpha**2 * s + sigma**2 * torch.eye(2, dtype=torch.float64)
        d = x - alpha * m
        terms.append(w - (d @ torch.linalg.inv(c) * d).sum(1) / 2 - torch.logdet(c) / 2)
    (gradient,) = torch.autograd.grad(torch.logsumexp(torch.stack(terms), 0).sum(), x)
    return gradient, truth.score(x.detach(), LEVEL)


@check("math: E[x0|x]; Sedykh eq. 3.22")
def denoiser_is_the_posterior_mean() -> Sides:
    """x0hat = E[x_0 | x_t], by quadrature"""
    joint = _joint()
    return integral(joint * GRID) / integral(joint), line().denoiser(LINEAR)(X, LEVEL).x0


@check("math: Cov[x0|x]")
def posterior_covariance() -> Sides:
    """Cov[x_0 | x_t], by quadrature"""
    joint = _joint()
    mass = integral(joint)
    mean = integral(joint * GRID) / mass
    return integral(joint * (GRID - mean[:, None]) ** 2) / mass, line().moments(X, LEVEL)[1]


@check("Sedykh eq. 3.22-3.28; math: score")
def tweedie() -> Sides:
    """score = (alpha x0hat - x_t)/sigma^2, where x0hat is the mean of q(x_0 | x_t), with the sign of -eps/sigma"""
    truth = line()
    x0 = truth.denoiser(LINEAR)(X, LEVEL).x0
    right = (LEVEL.alpha * x0 - X) / LEVEL.sigma**2
    return right, truth.score(X, LEVEL), -right


@check("Sedykh eq. 3.29")
def score_is_minus_eps() -> Sides:
    """of one prediction, score = -eps/sigma and v = alpha eps - sigma x0hat"""
    p, truth = plane().denoiser(LINEAR)(torch.tensor([[0.3, -1.0], [1.2, 0.4]]).double(), LEVEL), plane()
    score = truth.score(p.x_t, LEVEL)
    eps = -LEVEL.sigma * score
    theory = torch.stack([score, eps, LEVEL.alpha * eps - LEVEL.sigma * p.x0])
    return theory, torch.stack([p.score, p.eps, p.v])


@check("Sedykh eq. 3.24-3.27")
def conditional_scores_average_to_the_score() -> Sides:
    """E[-eps/sigma | x_t] = score, which is why denoising learns it, by quadrature over q(x_0 | x_t)"""
    joint = _joint()
    conditional = -(X - LEVEL.alpha * GRID) / LEVEL.sigma**2
    return integral(joint * conditional) / integral(joint), line().score(X, LEVEL)


@check("math: d x0hat/dx")
def jacobian_of_the_denoiser() -> Sides:
    """d x0hat/d x_t = (alpha/sigma^2) Cov[x_0 | x_t], by differences in the plane"""
    truth, h = plane(), 1e-5
    x = torch.tensor([[0.3, -1.0], [1.2, 0.4]], dtype=torch.float64)
    columns = []
    for i in range(2):
        e = torch.eye(2, dtype=torch.float64)[i] * h
        ends = [truth.moments(x + k * e, LEVEL)[0] for k in (-2, -1, 1, 2)]
        columns.append((ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h))
    return torch.stack(columns, 2), LEVEL.alpha / LEVEL.sigma**2 * truth.moments(x, LEVEL)[1]


@check("math: div score")
def divergence_of_the_score() -> Sides:
    """div score = alpha^2 tr Cov/sigma^4 - D/sigma^2, by differences in the plane"""
    truth, h = plane(), 1e-5
    x = torch.tensor([[0.3, -1.0], [1.2, 0.4]], dtype=torch.float64)
    total = torch.zeros(2, dtype=torch.float64)
    for i in range(2):
        e = torch.eye(2, dtype=torch.float64)[i] * h
        ends = [truth.score(x + k * e, LEVEL)[:, i] for k in (-2, -1, 1, 2)]
        total += (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h)
    trace = truth.moments(x, LEVEL)[1].diagonal(dim1=1, dim2=2).sum(1)
    return total, LEVEL.alpha**2 * trace / LEVEL.sigma**4 - 2 / LEVEL.sigma**2


@check("math: E tr Cov; Analytic-DPM theorem 1")
def mean_spread_from_the_score() -> Sides:
    """E tr Cov[x_0 | x_t] = (sigma^2/alpha^2)(D - sigma^2 E |score|^2)"""
    truth, grid = line(), GRID[:, None]
    density = torch.exp(truth.log_prob(grid, LEVEL))
    squares = integral(density * truth.score(grid, LEVEL)[:, 0] ** 2)
    spread = integral(density * truth.moments(grid, LEVEL)[1][:, 0, 0])
    return LEVEL.sigma**2 / LEVEL.alpha**2 * (1 - LEVEL.sigma**2 * squares), spread


@check("math: finite data set")
def finite_data_is_a_mixture_of_points() -> Sides:
    """the empirical denoiser, softmax of -|x - alpha x_i|^2/(2 sigma^2) over the points, is the mixture with S = 0"""
    points = torch.tensor([[-1.0, 0.5], [0.6, 0.8], [0.2, -1.1], [0.9, 0.1]], dtype=torch.float64)
    x = torch.tensor([[0.3, -1.0], [1.2, 0.4]], dtype=torch.float64)
    square = ((x[:, None] - LEVEL.alpha * points) ** 2).sum(2)
    softmax = torch.softmax(-square / (2 * LEVEL.sigma**2), 1) @ points
    mixture = GaussianMixture(torch.ones(4), points, torch.zeros(4, 2, 2))
    both = torch.stack([FiniteData(points).mean(x, LEVEL), mixture.moments(x, LEVEL)[0]])
    return softmax.expand(2, 2, 2), both


@check("math: finite data set; Weng eq. 1")
def finite_data_score() -> Sides:
    """the score of the empirical distribution is the gradient of its log-density, by automatic differentiation"""
    points = torch.tensor([[-1.0, 0.5], [0.6, 0.8], [0.2, -1.1]], dtype=torch.float64)
    x = torch.tensor([[0.3, -1.0], [1.2, 0.4]], dtype=torch.float64, requires_grad=True)
    log_p = torch.logsumexp(-((x[:, None] - LEVEL.alpha * points) ** 2).sum(2) / (2 * LEVEL.sigma**2), 1)
    (gradient,) = torch.autograd.grad(log_p.sum(), x)
    return gradient, FiniteData(points).score(x.detach(), LEVEL)


@check("math: responsibilities; Sedykh eq. 4.21-4.24")
def classifier_gradient() -> Sides:
    """grad log p(y | x_t) = score of q(x_t | y) - score of q(x_t), where p(y | x_t) is a sum of responsibilities"""
    truth, h = line(), 1e-5
    labelled = GaussianMixture(torch.tensor([0.3, 0.5]), truth.means[:2], truth.covariances[:2])  # y: the first two
    log_p = lambda x: torch.log(truth.responsibilities(x, LEVEL)[:, :2].sum(1))  # noqa: E731
    slope = (log_p(X - 2 * h) - 8 * log_p(X - h) + 8 * log_p(X + h) - log_p(X + 2 * h)) / (12 * h)
    return slope[:, None], labelled.score(X, LEVEL) - truth.score(X, LEVEL)


@check("Weng eq. 15; Friedman eq. 34; math: one step")
def reverse_mean_and_variance_by_quadrature() -> Sides:
    """E[x_s | x_t] and Var[x_s | x_t] of the true chain by quadrature over x_s; Var is btilde + c^2 Cov[x_0 | x_t]"""
    from fromnoise.variances.fixed_small import FixedSmall
    from fromnoise.variances.reverse import reverse

    truth, t, s = line(), COSINE.level(600), COSINE.level(450)
    k = step(t, s)
    joint = torch.exp(truth.log_prob(GRID[:, None], s) + log_normal(X, k.a * GRID, k.b))
    mass = integral(joint)
    mean = integral(joint * GRID) / mass
    var = integral(joint * (GRID - mean[:, None]) ** 2) / mass
    model = reverse(truth.denoiser(COSINE)(X, t), t, s, FixedSmall())
    exact = k.variance + k.from_x0**2 * truth.moments(X, t)[1][:, 0, 0]
    return torch.stack([mean, var]), torch.stack([model.mean[:, 0], exact])
