"""What every spacing promises."""

import math
from dataclasses import dataclass

import pytest
import torch

import fromnoise as fn

NAMES = fn.spacings.names()
SCHEDULES = [fn.schedules.build({"name": name, "T": T})
             for name, T in (("linear", 1000), ("cosine", 40), ("ve", 25), ("edm", 18), ("learned", 30))]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_chains_descend_to_clean_in_at_most_n_steps(schedule, name):
    for n in (1, 2, 9):
        chain = schedule.steps(n, name)
        assert 1 <= chain.steps <= n
        assert chain[-1].is_clean
        assert bool((chain.levels.log_snr[1:] > chain.levels.log_snr[:-1]).all())
        assert torch.equal(schedule.steps(n, fn.spacings.build(name)).levels.time, chain.levels.time)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_drawn_does_not_depend_on_whether_it_was_named(name):
    truth = fn.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.full((1, 1, 1), 0.25))
    denoiser = truth.denoiser(SCHEDULES[0])
    one, two = (fn.sample(denoiser, 3, "ddim", 5, spacing=s) for s in (name, fn.spacings.build(name)))
    assert torch.equal(one, two)


@pytest.mark.parametrize("name", NAMES)
def test_its_kind_is_one_of_two(name):
    spacing = fn.spacings.build(name)
    for n in (1, 2, 7, 40):
        if isinstance(spacing, fn.spacings.ByTime):
            assert all(t == int(t) and 1 <= t <= 40 for t in spacing.times(n, 40, True))
            assert all(1 <= t <= 40 for t in spacing.times(n, 40, False))
        else:
            grid = spacing.log_snrs(n, 7.0, -5.0)
            assert (len(grid), grid[0]) == (n, pytest.approx(-5.0))
            assert list(grid) == sorted(grid)
            assert n == 1 or grid[-1] == pytest.approx(7.0)


def test_fractional_times_are_those_that_whole_ones_stand_for():
    assert fn.spacings.Uniform().times(4, 11, False) == pytest.approx([1, 1 + 10 / 3, 1 + 20 / 3, 11])
    assert fn.spacings.DDIM().times(4, 11, False) == pytest.approx([1, 3.5, 6, 8.5])
    assert fn.spacings.Trailing().times(4, 11, False) == pytest.approx([11, 8.5, 6, 3.5])
    root = math.sqrt(0.8 * 11)
    assert fn.spacings.Quadratic().times(3, 11, False) == pytest.approx([1, 1 + (root / 2) ** 2, 1 + root**2])


def test_karras_is_the_papers():
    """Eq. 5 of arXiv 2206.00364: sigma_i = (sigma_max^(1/7) + i/(N - 1) (sigma_min^(1/7) - sigma_max^(1/7)))^7."""
    chain = fn.schedules.EDM(T=18).steps(18, "karras")
    sigma = (chain.levels.sigma / chain.levels.alpha)[:-1]
    top, bottom, i = sigma[0] ** (1 / 7), sigma[-1] ** (1 / 7), torch.arange(18, dtype=torch.float64)
    torch.testing.assert_close(sigma, (top + i / 17 * (bottom - top)) ** 7, rtol=1e-9, atol=0)


def test_log_snr_is_a_geometric_ladder():
    levels = fn.schedules.VE(T=50, sigma_min=0.01, sigma_max=10.0).steps(4, "log-snr").levels
    torch.testing.assert_close(levels.sigma[:-1], torch.tensor([10.0, 1.0, 0.1, 0.01], dtype=torch.float64))


@dataclass(frozen=True)
class Ends(fn.spacings.ByTime):
    """The first row and the last, which nobody registered."""

    def times(self, n, T, whole):
        return [T, 1, T]


class Twice(fn.spacings.ByNoise):
    def log_snrs(self, n, high, low):
        return [low, high]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_an_object_of_ones_own_is_taken_as_it_is(schedule):
    for own in (Ends(), Twice()):
        assert schedule.steps(9, own).levels.time.tolist() == pytest.approx([schedule.T, 1, 0])


def test_in_samplers_and_cascades():
    truth = fn.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.full((1, 1, 1), 0.25))
    denoiser = truth.denoiser(SCHEDULES[0])
    seen = []
    fn.sample(denoiser, 1, "ddim", 9, spacing=Ends(), callback=lambda m: seen.append(m.t.time.item()))
    assert seen == [1, 0]
    stage = fn.compose.cascade.Stage(denoiser, fn.samplers.DDIM(), 9, Ends())
    assert fn.compose.cascade.draw([stage], 2).shape == (2, 1)


def test_what_is_no_spacing_is_one_line():
    linear = SCHEDULES[0]
    with pytest.raises(fn.FromNoiseError, match=r"unknown spacing 'unifrom' \(did you mean uniform\?\)"):
        linear.steps(3, "unifrom")
    with pytest.raises(fn.FromNoiseError, match="spacing must be a name, ddim, karras.*class Spacing; got 3"):
        linear.steps(3, 3)

    class Neither(fn.spacings.Spacing):
        pass

    with pytest.raises(fn.FromNoiseError, match="Neither must be a subclass of spacings.ByTime or of spacings.ByNoise"):
        linear.steps(3, Neither())
