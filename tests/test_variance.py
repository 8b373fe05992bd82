"""The reverse step against the reference code's tables."""

import json
import math
from dataclasses import dataclass

import pytest
import torch
from conftest import line_mixture

import fromnoise as fn
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.variances.reverse import reverse

SCHEDULE = fn.schedules.Linear(T=1000)
BETA = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
BAR = torch.cumprod(1 - BETA, 0)
TILDE = BETA * (1 - torch.cat([torch.ones(1, dtype=torch.float64), BAR[:-1]])) / (1 - BAR)


def at(t, name, chain=None):
    level, below = SCHEDULE.level(t), SCHEDULE.level(t - 1)
    x = torch.zeros(1, 2, dtype=torch.float64)
    p = Prediction(
        x, level, x, fn.parameterizations.Eps(), SCHEDULE, variance=torch.zeros_like(x)
    )  # learned: beta-tilde
    return reverse(p, level, below, fn.variances.build(name), chain).log_var.flatten()[0].item()


@pytest.mark.parametrize("t", [2, 3, 400, 1000])
def test_fixed_variances(t):
    assert at(t, "fixed_large") == pytest.approx(math.log(BETA[t - 1].item()), abs=1e-10)
    assert at(t, "fixed_small") == pytest.approx(math.log(TILDE[t - 1].item()), abs=1e-9)


@pytest.mark.parametrize("name", fn.variances.names())
def test_first_step_rule(name):
    """With the chain: log beta-tilde_2 stands at t = 1; a sampler, without it, ends on the mean."""
    assert at(1, name, SCHEDULE.steps(1000)) == pytest.approx(math.log(TILDE[1].item()), abs=1e-9)
    assert at(1, name) == -math.inf


def test_batched_first_step():
    levels, below = SCHEDULE.level(torch.tensor([1.0, 2.0])), SCHEDULE.level(torch.tensor([0.0, 1.0]))
    x = torch.zeros(2, 1, 2, 2, dtype=torch.float64)
    p = Prediction(x, levels, x, fn.parameterizations.Eps(), SCHEDULE)
    got = reverse(p, levels, below, fn.variances.build("fixed_large"), SCHEDULE.steps(1000)).log_var.flatten()
    assert got.tolist() == pytest.approx([math.log(TILDE[1].item()), math.log(BETA[1].item())], abs=1e-9)


def test_mean_is_the_posteriors_expectation_by_quadrature():
    """E[x_s | x_t] under the true joint of a mixture equals the reverse mean with the exact denoiser."""
    truth = line_mixture()
    t, s = SCHEDULE.level(600), SCHEDULE.level(450)
    grid = torch.linspace(-15, 15, 40_001, dtype=torch.float64)
    k = fn.gaussian.step(t, s)
    for x in (-1.0, 0.3, 1.7):
        joint = (truth.log_prob(grid[:, None], s) - (x - k.a * grid) ** 2 / (2 * k.b)).exp()
        mean = torch.trapezoid(joint * grid, grid) / torch.trapezoid(joint, grid)
        x_t = torch.tensor([[x]], dtype=torch.float64)
        got = reverse(truth.denoiser(SCHEDULE)(x_t, t), t, s, fn.variances.build("fixed_small")).mean
        assert got.item() == pytest.approx(mean.item(), abs=1e-9)


def test_unknown_variance():
    with pytest.raises(fn.FromNoiseError, match="unknown variance 'fixed_smal'.*did you mean fixed-small"):
        fn.Denoiser(torch.nn.Identity(), "linear", variance="fixed_smal")
    with pytest.raises(fn.FromNoiseError, match="unknown variance 'optimal'; choose from fixed-large"):
        fn.Denoiser(torch.nn.Identity(), "linear", variance="optimal")  # it needs a function, which no name could hold
    with pytest.raises(fn.FromNoiseError, match="variance must be a name, .* object of the class Variance"):
        fn.Denoiser(torch.nn.Identity(), "linear", variance=0.1)


@pytest.mark.parametrize("name", fn.variances.names())
def test_files_spell_it_with_underscores(name):
    variance = fn.variances.build(name)
    assert variance.spec == variance.name == name.replace("-", "_")
    assert fn.variances.build(variance.spec) == variance


@dataclass(frozen=True)
class Between(fn.variances.Variance):
    """The geometric mean of the two fixed ones, which nobody registered."""

    def log_var(self, p, k, small):
        return torch.where(k.variance == 0, small, (small + torch.log(k.b)) / 2)


def test_an_object_of_ones_own_is_taken_as_it_is(tmp_path):
    truth = fn.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.full((1, 1, 1), 0.25))
    denoiser = fn.guidance.WithVariance(truth.denoiser(SCHEDULE), Between())
    t, s = SCHEDULE.level(600), SCHEDULE.level(599)
    got = reverse(denoiser(torch.zeros(1, 1, dtype=torch.float64), t), t, s, denoiser.variance).log_var.item()
    assert got == pytest.approx((math.log(TILDE[599].item()) + math.log(BETA[599].item())) / 2, abs=1e-9)
    own = fn.Denoiser(fn.nn.UNet(channels=8, groups=4, mult=(1, 2), attention=()), "linear", "eps", Between())
    assert fn.sample(own, (1, 3, 8, 8), "ancestral", steps=2).isfinite().all()
    with pytest.raises(fn.FromNoiseError, match="Between is not registered"):
        fn.save(own, tmp_path / "model")


@pytest.mark.parametrize("name", ["fixed_large", "fixed-large"])
def test_a_model_saved_with_either_spelling_says_underscores(name, tmp_path):
    network = fn.nn.UNet(channels=8, groups=4, mult=(1, 2), attention=())
    fn.save(fn.Denoiser(network, "linear", "v", name), tmp_path / "model")
    about = json.loads((tmp_path / "model" / "denoiser.json").read_text())
    assert (about["parameterization"], about["variance"]) == ("v", "fixed_large")
    assert fn.load(tmp_path / "model").variance == fn.variances.FixedLarge()
