"""NCSN's choices, against what they stand for."""

import math

import pytest
import torch

import fromnoise as fn
from fromnoise import langevin


def test_the_largest_distance_is_the_largest():
    x = torch.randn(2300, 1, 3, 2, generator=torch.Generator().manual_seed(0))
    x[1500] += 40
    flat = x.flatten(1)
    assert langevin.largest_distance(x) == pytest.approx((flat - flat[1500]).norm(dim=1).max().item(), rel=1e-5)


@pytest.mark.parametrize("dimensions", [10, 784, 3072])
def test_neighbouring_shells_of_a_ladder_overlap_as_asked(dimensions):
    """Half of a level's shell has a norm within three deviations of that of the noisier level before it."""
    g = langevin.ladder_ratio(dimensions)
    radius = torch.linalg.vector_norm(
        torch.randn(20_000, dimensions, generator=torch.Generator().manual_seed(0)), dim=1
    )
    within = ((radius - g * dimensions**0.5).abs() < 3 * g * math.sqrt(0.5)).double().mean().item()
    assert within == pytest.approx(0.5, abs=0.12)  # the norm is taken for normal
    assert langevin.ladder_ratio(dimensions, 0.9) < g < langevin.ladder_ratio(dimensions, 0.1)


def test_the_ladder_of_cifar10_is_the_papers():
    """Song and Ermon 2020: 232 levels, an overlap of about a half, from 50 to 0.01, and steps of 6.2e-6 / 0.01^2 for 5 of them at each."""
    g = langevin.ladder_ratio(3072)
    assert 1 + math.log(50 / 0.01) / math.log(g) == pytest.approx(232, abs=15)
    assert langevin.best_size(g, 5) == pytest.approx(0.062, abs=0.006)
    assert langevin.ladder_ratio(2) == math.inf


@pytest.mark.parametrize(("ratio", "n"), [(1.08, 5), (1.67, 100), (1.04, 3)])
def test_the_best_size_leaves_the_right_variance(ratio, n):
    """The chain's own variance on a point: from ratio^2 down to nearly 1, and no other size comes nearer."""

    def variance(size):
        x = torch.tensor([[ratio], [0.0]], dtype=torch.float64)  # the start, and what the draws add
        var = x[0, 0] ** 2
        for _ in range(n):
            gain = langevin.langevin(lambda y: -y, torch.ones(1, 1).double(), 2 * size, 1, lambda: torch.zeros(1, 1))
            spread = langevin.langevin(lambda y: -y, torch.zeros(1, 1).double(), 2 * size, 1, lambda: torch.ones(1, 1))
            var = gain.squeeze() ** 2 * var + spread.squeeze() ** 2
        return abs(var.item() - 1)

    best = langevin.best_size(ratio, n)
    assert all(variance(best) <= variance(best * f) + 1e-9 for f in (0.8, 0.98, 1.02, 1.25))


def test_conventions_differ_by_a_factor_of_two():
    truth = fn.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
    denoiser = truth.denoiser(fn.schedules.VE(T=10))
    written = fn.samplers.AnnealedLangevin(size=0.1, n=3, convention="written")
    code = fn.samplers.AnnealedLangevin(size=0.05, n=3)
    one, two = (fn.sample(denoiser, (4, 2), s, steps=8) for s in (written, code))
    torch.testing.assert_close(one, two)
    with pytest.raises(fn.FromNoiseError, match="convention must be code or written"):
        fn.samplers.AnnealedLangevin(convention="paper")
    with pytest.raises(fn.FromNoiseError, match="convention"):
        fn.samplers.build({"name": "annealed-langevin", "convention": "paper"})
