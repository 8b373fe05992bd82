"""The probability-flow ODE: densities of a mixture, and the way to the latent and back."""

import math

import pytest
import torch
from conftest import line_mixture, plane_mixture

import fromnoise as fn

pytest.importorskip("torchdiffeq", reason="the ode extra is not installed")

TIGHT = {"rtol": 1e-9, "atol": 1e-9}
# Schedules that end so far in the noise that the prior is the truth's own last marginal within 1e-6.
SCHEDULES = [fn.schedules.VP(beta_max=80.0), fn.schedules.SubVP(beta_max=80.0)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("truth", [line_mixture, plane_mixture], ids=lambda f: f.__name__)
def test_the_density_is_the_mixtures(schedule, truth):
    mixture = truth()
    x = mixture.sample(8, torch.Generator().manual_seed(0)).double()
    for start in (schedule.at(12.0), schedule.at(2.0)):
        found = fn.likelihood.ode(mixture.denoiser(schedule), x, start=start, divergence="exact", **TIGHT)
        assert (found.log_prob - mixture.log_prob(x, start)).abs().max() < 1e-5
        torch.testing.assert_close(found.prior + found.volume, found.log_prob)
        assert found.calls > 50


def test_the_density_under_an_exploding_schedule():
    # The prior N(0, sigma_max^2) is off the last marginal by some mean / sigma_max in log-density.
    schedule, mixture = fn.schedules.VE(sigma_min=0.01, sigma_max=1e5), plane_mixture()
    x = mixture.sample(8, torch.Generator().manual_seed(0)).double()
    start = schedule.level(1)
    found = fn.likelihood.ode(mixture.denoiser(schedule), x, start=start, divergence="exact", **TIGHT)
    assert (found.log_prob - mixture.log_prob(x, start)).abs().max() < 1e-4


def test_hutchinsons_estimate_has_the_exact_mean():
    schedule, mixture = SCHEDULES[0], plane_mixture()
    x = mixture.sample(1, torch.Generator().manual_seed(3)).double().expand(400, 2)
    denoiser, start = mixture.denoiser(schedule), schedule.at(6.0)
    exact = fn.likelihood.ode(denoiser, x[:1], start=start, divergence="exact").log_prob
    many = fn.likelihood.ode(denoiser, x, start=start).log_prob
    assert many.std() > 0.01
    assert abs(many.mean() - exact) < 4 * many.std() / 20
    fewer = fn.likelihood.ode(denoiser, x[:100], start=start, probes=16).log_prob
    assert fewer.std() < many.std() / 2


def test_bits_per_dimension_of_8_bit_data():
    """Uniform data in [-1, 1] need 8 bits; a density of 1/2 a dimension is that."""
    made = fn.likelihood.FlowLikelihood(
        torch.tensor([-3 * math.log(2)]), *[torch.zeros(1)] * 2, torch.zeros(1, 3), 3, 0
    )
    assert made.total.item() == pytest.approx(math.log2(255), abs=1e-6)  # 255 bins' width of 2/255


def test_dequantisation_stays_in_the_bins_and_is_counted():
    schedule, mixture = SCHEDULES[0], plane_mixture()
    seen = []

    class Spy(fn.guidance.Wrapper):
        def forward(self, x_t, t, cond=None):
            seen.append(x_t)
            return self.inner(x_t, t, cond)

    x0 = torch.tensor([[0.0, 1.0], [-1.0, 0.5]], dtype=torch.float64)
    start = schedule.at(60.0)
    options = {"start": start, "dequantise": "uniform", "rtol": 1e-2, "atol": 1e-2}
    fn.likelihood.ode(Spy(mixture.denoiser(schedule)), x0, **options)
    first = seen[0] / start.alpha - x0
    assert first.abs().max() <= 0.5 / 127.5 + 1e-9
    assert first.abs().min() > 0
    seen.clear()
    fn.likelihood.ode(Spy(mixture.denoiser(schedule)), x0[1:], first=1, **options)
    torch.testing.assert_close(seen[0] / start.alpha - x0[1:], first[1:], rtol=0, atol=1e-12)


def greys():
    """Two narrow normals, the 8-bit levels that they round to, and the probability of each."""
    weights, means = torch.tensor([0.4, 0.6]), torch.tensor([[-0.3], [0.5]])
    smooth = fn.oracle.GaussianMixture(weights, means, torch.full((2, 1, 1), 0.02, dtype=torch.float64) ** 2)
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    edges = torch.cat([levels - 0.5 / 127.5, levels[-1:] + 0.5 / 127.5])
    mass = (smooth.log_weights.exp() * torch.special.ndtr((edges[:, None] - smooth.means[:, 0]) / 0.02)).sum(1).diff()
    chosen = mass > 0.01
    return smooth, levels[chosen], mass[chosen]


def dequantised_bits(truth, levels, kind):
    """Mean over 400 draws of the bits of each level, and its standard error."""
    schedule = fn.schedules.VP(beta_max=80.0)
    start = schedule.at(14.0)  # noise of a quarter of the bin's half width
    options = {"start": start, "divergence": "exact", "dequantise": kind, "rtol": 1e-7, "atol": 1e-7}
    found = fn.likelihood.ode(truth.denoiser(schedule), levels.repeat(400)[:, None], **options)
    each = found.total.view(400, -1)
    return each.mean(0), each.std(0) / 20


def test_uniform_dequantisation_suits_a_smooth_density():
    """-log2 p(x + u) / q(u) has a mean of at least -log2 P(x), and hardly more where the density is smooth."""
    smooth, levels, mass = greys()
    bits, error = dequantised_bits(smooth, levels, "uniform")
    assert (bits > -torch.log2(mass) - 4 * error - 0.002).all()
    assert (bits + torch.log2(mass)).abs().max() < 0.12


def test_variational_dequantisation_suits_a_model_of_the_levels_themselves():
    """A model that learned 8-bit data has a peak at each level: the bound is then P(x) itself, the uniform one is not."""
    _, levels, mass = greys()
    mass = mass / mass.sum()
    comb = fn.oracle.GaussianMixture(mass, levels[:, None], torch.full((len(mass), 1, 1), 1e-12, dtype=torch.float64))
    bits, error = dequantised_bits(comb, levels, "variational")
    assert (bits + torch.log2(mass)).abs().max() < 0.01 + 4 * error.max()
    even, error = dequantised_bits(comb, levels, "uniform")
    assert (even > -torch.log2(mass) + 0.5).all()


def test_variational_noise_is_a_distribution_on_the_bin():
    from fromnoise.likelihood import bin_noise

    half = 0.5 / 127.5
    for log_snr in (18.0, 11.0, 4.0):  # narrower than the bin, as wide, so wide that it is uniform
        level = fn.schedules.VP(beta_max=80.0).at(log_snr)
        even = torch.linspace(0, 1, 20_001, dtype=torch.float64)[1:-1, None]
        u, noise = bin_noise(even, level)
        assert u.abs().max() <= half
        density = torch.exp(-noise)
        assert torch.trapezoid(density, u[:, 0]).item() == pytest.approx(1, abs=1e-3)
        assert ((u[1:, 0] - u[:-1, 0]) * density[1:] * 20_000).mean().item() == pytest.approx(1, abs=1e-3)  # drawn so
    assert density.max().item() == pytest.approx(1 / (2 * half), rel=1e-2)


def test_the_way_to_the_latent_and_back():
    schedule, mixture = fn.schedules.Cosine(), plane_mixture()
    denoiser = mixture.denoiser(schedule)
    data, noise = schedule.at(8.0), schedule.chain[0]
    x = mixture.sample(6, torch.Generator().manual_seed(1)).double()
    latent = fn.flow.solve(denoiser, x, data, noise, **TIGHT)
    assert not torch.allclose(latent, x, atol=0.1)
    torch.testing.assert_close(fn.flow.solve(denoiser, latent, noise, data, **TIGHT), x, rtol=0, atol=1e-5)


def test_in_one_dimension_the_flow_keeps_quantiles():
    schedule, mixture = fn.schedules.VP(), line_mixture()
    t, s = schedule.at(-2.0), schedule.at(5.0)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]

    def cdf(x, level):
        scale = (level.alpha**2 * mixture.eigenvalues[:, 0] + level.sigma**2).sqrt()
        return (mixture.log_weights.exp() * torch.special.ndtr((x - level.alpha * mixture.means[:, 0]) / scale)).sum(1)

    moved = fn.flow.solve(mixture.denoiser(schedule), x, t, s, **TIGHT)
    torch.testing.assert_close(cdf(moved, s), cdf(x, t), rtol=0, atol=1e-6)
