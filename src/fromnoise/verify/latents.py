"""Linear codecs and distances of Gaussians, which linear algebra gives exactly."""

import math

import torch

from fromnoise.compose.latent import PCA, Scaled
from fromnoise.metrics.frechet import distance
from fromnoise.metrics.inception_score import score
from fromnoise.objectives.simple import Simple
from fromnoise.oracle import GaussianMixture
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import LINEAR, hermite


def _data() -> torch.Tensor:
    """200 points in 6 dimensions with unequal variances."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(200, 6, generator=generator, dtype=torch.float64)
    mix = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    return (z * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.3, 0.1])) @ mix + 1


@check("Sedykh eq. 5.1-5.2; math: PCA as the latent codec", 1e-10)
def pca_loses_the_dropped_eigenvalues() -> Sides:
    """for the linear codec, E|x - D(E(x))|^2 = sum of the dropped eigenvalues = the Frechet distance to the data"""
    x, theory, practice = _data(), [], []
    for k in (1, 3, 5):
        codec = PCA(x, k)
        again = codec.decode(codec.encode(x))
        dropped = codec.eigenvalues[:-k].sum()
        covariances = [torch.cov(v.T, correction=0) for v in (x, again)]
        theory += [dropped, dropped]
        practice += [
            (x - again).square().sum(1).mean(),
            distance(x.mean(0), covariances[0], again.mean(0), covariances[1]),
        ]
    return torch.stack(theory), torch.stack(practice)


@check("Sedykh eq. 5.1-5.2")
def a_full_codec_is_lossless() -> Sides:
    """D(E(x)) = x if no dimension is dropped, also with scaled latents"""
    x = _data()
    codec = Scaled(PCA(x, 6), x)
    return x, codec.decode(codec.encode(x))


@check("Sedykh eq. 5.3")
def latents_are_scaled_to_unit_variance() -> Sides:
    """z = c E(x) with c = 1/std has variance 1; without c it has the variance of the codec's latents"""
    x = _data()
    codec = PCA(x, 2)
    return 1.0, Scaled(codec, x).encode(x).var(), codec.encode(x).var()


@check("Sedykh eq. 5.3; Sedykh eq. 2.98")
def simple_loss_on_latents() -> Sides:
    """for latents N(0, S) the exact denoiser has L_LDM = E|eps - epshat|^2 = tr(alpha^2 S/(alpha^2 S + sigma^2))/D"""
    t, var = LINEAR.level(300), torch.tensor([2.0, 0.5], dtype=torch.float64)
    truth = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.diag(var)[None]).denoiser(LINEAR)
    nodes, weights = hermite(4)
    grid, weight = torch.cartesian_prod(*[nodes] * 4), torch.cartesian_prod(*[weights] * 4).prod(1)
    loss = Simple()(truth, grid[:, :2] * var.sqrt(), t.expand(len(grid)), grid[:, 2:])["loss"]
    floor = (t.alpha**2 * var / (t.alpha**2 * var + t.sigma**2)).mean()
    return floor, (weight * loss).sum() * t.alpha**2 / t.sigma**2  # the oracle predicts x0


@check("Shorts table; Heusel et al. 2017")
def frechet_of_gaussians() -> Sides:
    """Frechet distance for commuting covariances: |m - n|^2 + sum (sqrt(s_i) - sqrt(r_i))^2, also if singular"""
    q, _ = torch.linalg.qr(torch.arange(9.0, dtype=torch.float64).view(3, 3).cos())
    s, r = torch.tensor([2.0, 0.5, 0.0]).double(), torch.tensor([1.0, 0.0, 3.0]).double()
    m, n = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 1.0])
    theory = 5 + (s.sqrt() - r.sqrt()).square().sum()
    return theory, distance(m, q @ torch.diag(s) @ q.T, n, q @ torch.diag(r) @ q.T)


@check("Shorts table; Salimans et al. 2016")
def inception_score_limits() -> Sides:
    """the inception score is 1 if every p(y | x) is the same, and K for K certain, balanced classes"""
    same, certain = torch.full((40, 4), 0.25), torch.eye(4).repeat(10, 1)
    half = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]).repeat(20, 1)
    values = [score(p, splits=1)[0] for p in (same, certain, half)]
    return torch.tensor([1.0, 4.0, math.exp(math.log(2))], dtype=torch.float64), torch.stack(values)
