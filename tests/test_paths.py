"""Straightness and curvature of paths against closed forms."""

import math

import pytest
import torch
from torch import nn

import fromnoise as fn
from fromnoise import rng


def normal(s, mean=0.0, dim=1):
    return fn.oracle.GaussianMixture(
        torch.ones(1), torch.full((1, dim), mean), (s * s * torch.eye(dim, dtype=torch.float64))[None]
    )


class Monotone(nn.Module):
    """The field of the pairs (m + s e, e): F = e - x_0 with x_t = (1 - t)(m + s e) + t e."""

    def __init__(self, m, s):
        super().__init__()
        self.m, self.s = m, s

    def forward(self, x, time, **told):
        t = (time.double() / 1000).view(-1, *[1] * (x.dim() - 1)).to(x)
        e = (x - (1 - t) * self.m) / ((1 - t) * self.s + t)
        return e - (self.m + self.s * e)


@pytest.mark.parametrize("s", [0.25, 0.5, 2.0])
def test_a_normal_has_the_straightness_of_the_closed_form(s):
    """On the straight path y = sqrt(var) e, v = var'/(2 sqrt(var)) e; int v^2 = 1 + s^2 - pi s / 2, so S = s (2 - pi / 2).

    And |y| sinks to s / sqrt(1 + s^2) before it grows to 1: the path's length over its chord's.
    """
    n = 100
    found = fn.paths.measure(normal(s).denoiser(fn.schedules.Rectified(T=4000)), n, steps=400, batch_size=60)
    noise = rng.normal(0, range(n), 0, (1,), dtype=torch.float64).square().mean().item()  # 1 but for chance
    assert found.straightness / noise == pytest.approx(s * (2 - math.pi / 2), rel=5e-4)
    length = 1 + s - 2 * s / math.sqrt(1 + s * s)
    assert found.curvature == pytest.approx(length / abs(1 - s) - 1, abs=1e-3)
    var = (1 - found.taus) ** 2 * s * s + found.taus**2
    speed = (found.taus - (1 - found.taus) * s * s) / var.sqrt()
    torch.testing.assert_close(found.deviation / noise, (1 - s - speed) ** 2, rtol=1e-4, atol=1e-4)
    assert found.calls == 2 * 400 - 1 + 400
    assert found.paths.shape == (401, 8, 1)
    first = rng.normal(0, range(8), 0, (1,), dtype=torch.float64)
    torch.testing.assert_close(found.paths[0], first)
    torch.testing.assert_close(found.paths[-1], s * first, rtol=0, atol=5e-4)


@pytest.mark.parametrize("schedule", [fn.schedules.Cosine(T=1000), fn.schedules.VE(sigma_max=500.0)])
def test_other_schedules_have_the_straightness_of_the_straight_path(schedule):
    straight = fn.paths.measure(normal(0.5, dim=3).denoiser(fn.schedules.Rectified()), 256, steps=200, batch_size=256)
    noise = rng.normal(0, range(256), 0, (3,), dtype=torch.float64).square().mean().item()
    assert straight.straightness / noise == pytest.approx(0.5 * (2 - math.pi / 2), rel=1e-3)  # a dimension
    other = fn.paths.measure(normal(0.5, dim=3).denoiser(schedule), 256, steps=200, batch_size=256)
    assert other.straightness == pytest.approx(straight.straightness, rel=0.03)
    assert other.curvature == pytest.approx(straight.curvature, rel=0.03)


def test_the_field_of_monotone_pairs_is_straight():
    student = fn.Denoiser(Monotone(0.7, 0.4), fn.schedules.Rectified(), "flow", shape=(2, 3))
    found = fn.paths.measure(student, 100, "ddim", steps=20)
    assert found.straightness < 1e-10
    assert abs(found.curvature) < 1e-5


def test_paths_do_not_depend_on_the_batch():
    truth = normal(0.5, dim=2).denoiser(fn.schedules.Rectified())
    one, other = (fn.paths.measure(truth, 20, steps=10, batch_size=size) for size in (20, 7))
    assert one.straightness == pytest.approx(other.straightness, rel=1e-9)
    torch.testing.assert_close(one.paths, other.paths)


def test_the_samples_are_those_that_sample_draws():
    truth = normal(0.5, 0.3, dim=2).denoiser(fn.schedules.Cosine(T=100))
    chain = truth.schedule.steps(10, "uniform")
    eps, x0 = fn.paths.follow(truth, range(3, 7), chain, fn.samplers.Heun(), seed=5)
    torch.testing.assert_close(x0, fn.sample(truth, 4, fn.samplers.Heun(), 10, 5, first=3))
    assert torch.equal(eps, rng.normal(5, range(3, 7), 0, (2,), dtype=torch.float64))


def test_levels_are_even_and_none_is_cleaner_than_the_first_row():
    chain = fn.paths.even(fn.schedules.Rectified(), 8)
    torch.testing.assert_close(fn.paths.tau(chain.levels), torch.arange(8, -1, -1, dtype=torch.float64) / 8)
    linear = fn.schedules.Linear(T=1000)
    chain = fn.paths.even(linear, 500)
    assert chain[-1].is_clean
    assert 400 < chain.steps < 500
    assert chain[0].log_snr == linear.chain[0].log_snr
    assert chain[-2].log_snr <= linear.chain[-2].log_snr
    assert fn.paths.even(linear, 1).steps == 1


def test_labels_come_in_turn():
    told = fn.paths.conditions(fn.recipes.load("digits").build(), {"tone": [1.0, 2.0, 3.0]}, 3)
    assert told["label"].tolist() == [0, 1, 2]
    assert told["tone"].tolist() == [1, 2, 3]


def test_mistakes_are_one_line():
    truth = normal(0.5).denoiser(fn.schedules.Rectified())
    for sampler in ("ancestral", fn.samplers.DDIM(eta=0.5), "euler-maruyama"):
        with pytest.raises(fn.FromNoiseError, match=r"draws noise on its way.*take ddim with eta=0"):
            fn.paths.measure(truth, 4, sampler, steps=5)
    with pytest.raises(fn.FromNoiseError, match="has no shape of its own"):
        fn.paths.measure(fn.Denoiser(Monotone(0, 1), fn.schedules.Rectified(), "flow"), 4)
    with pytest.raises(fn.FromNoiseError, match="steps must be a whole number of at least 1, got 0"):
        fn.paths.measure(truth, 4, steps=0)
