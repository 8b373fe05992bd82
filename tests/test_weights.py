"""The objectives against closed forms and against each other."""

import math

import pytest
import torch
from conftest import line_mixture, plane_mixture

import fromnoise as fn
from fromnoise.bound import optimal_variance, path_terms, step_terms
from fromnoise.gaussian import diffuse, step


class Wrong(torch.nn.Module):
    """A network that is no exact denoiser."""

    def forward(self, x, time):
        return torch.tanh(x) + 0.1 * time[:, None].to(x.dtype) / 1000


def batch(truth, schedule, n=400, times=None):
    generator = torch.Generator().manual_seed(1)
    x0 = truth.sample(n, generator)
    t = schedule.level(torch.randint(2, schedule.T + 1, (n,), generator=generator) if times is None else times)
    return x0, t, torch.randn(n, x0.shape[1], dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("kind", ["eps", "x0", "v", "score"])
def test_the_weighted_term_is_l_t_but_for_what_the_variance_decides(kind, variance):
    """Friedman eq. 33, 35; Sedykh eq. 2.87-2.93; Weng eq. 30: KL of the step = weighted square + entropy terms."""
    schedule = fn.schedules.Linear(T=30, beta_end=0.3)
    denoiser = fn.Denoiser(Wrong(), schedule, kind, variance)
    x0, t, eps = batch(plane_mixture(), schedule)
    p, s = denoiser(diffuse(x0, eps, t), t), schedule.chain.below(t)
    kl = step_terms(denoiser, p, x0, t, s, schedule.chain)
    k = step(t, s)
    ratio = torch.ones(len(x0), dtype=torch.float64) if variance == "fixed_small" else k.variance / k.b
    constant = ratio - 1 - torch.log(ratio)  # D/2 = 1 times this
    weighted = fn.objectives.get("weighted")()(denoiser, x0, t, eps)["loss"]
    torch.testing.assert_close(weighted * 2 * math.log(2) / 30, kl - constant, rtol=1e-8, atol=1e-10)


def test_the_weight_of_eps_is_the_papers():
    """Weng eq. 30, Sedykh eq. 2.92-2.93: beta_t^2 / (2 sigma^2 alpha_t (1 - abar_t)), sigma^2 and not its square."""
    schedule = fn.schedules.Linear(T=30, beta_end=0.3)
    denoiser = fn.Denoiser(Wrong(), schedule, "eps", "fixed_large")
    x0, t, eps = batch(plane_mixture(), schedule)
    beta = torch.linspace(1e-4, 0.3, 30, dtype=torch.float64)
    bar = torch.cumprod(1 - beta, 0)
    row = t.time.long() - 1
    square = (eps - denoiser(diffuse(x0, eps, t), t).eps).square().mean(1)
    weight = beta[row] ** 2 / (2 * beta[row] * (1 - beta[row]) * (1 - bar[row]))
    got = fn.objectives.get("weighted")()(denoiser, x0, t, eps)["loss"] * math.log(2) / 30
    torch.testing.assert_close(got, weight * square, rtol=1e-8, atol=0)
    as_printed = beta[row] ** 2 / (2 * beta[row] ** 2 * (1 - beta[row]) * (1 - bar[row]))
    assert not torch.allclose(got, as_printed * square, rtol=0.1)


def two(schedule="linear", variance="fixed_large"):
    return fn.Denoiser(torch.nn.Identity(), schedule, "eps", variance)


@pytest.mark.parametrize(
    ("name", "denoiser", "says"),
    [
        ("weighted", two(variance="learned_range"), "mean only.*use hybrid or vlb"),
        ("simple", two(variance="learned_range"), "mean only.*use hybrid or vlb"),
        ("denoising", two(variance="learned_range"), "mean only"),
        ("hybrid", two(), "set variance=learned_range, or use simple"),
        ("simple", two(fn.schedules.Learned(T=5, width=2)), "only the bound can: use vlb"),
        ("hybrid", two(fn.schedules.Learned(T=5, width=2), "learned_range"), "only the bound can: use vlb"),
    ],
)
def test_objectives_refuse_what_they_cannot_teach(name, denoiser, says):
    with pytest.raises(fn.FromNoiseError, match=says):
        fn.objectives.build(name).check(denoiser)
    for fitting in ("vlb", "two-draw"):
        fn.objectives.build(fitting).check(denoiser)


def test_the_bound_does_not_learn_to_leave_no_noise():
    """With a learned schedule L_T is in the loss: for N(0, S) and the best variance its slope in the last log-SNR is that
    of KL(q(x_T) | N(0, 1)) = (v - 1 - log v)/2, v = S alpha_T^2 + sigma_T^2, which asks for more noise at T."""
    schedule, var = fn.schedules.Learned(T=40, top=13.3, bottom=0.0, width=4), 0.25
    truth = fn.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.full((1, 1, 1), var))
    denoiser = truth.denoiser(schedule)
    denoiser.variance = fn.variances.Optimal(lambda t: var * t.sigma**2 / (t.alpha**2 * var + t.sigma**2))
    sigma2 = torch.tensor(0.5, dtype=torch.float64)  # at log-SNR 0
    v = var * (1 - sigma2) + sigma2
    exact = (1 - 1 / v) / 2 * (1 - var) * -sigma2 * (1 - sigma2) / math.log(2)
    signs = torch.tensor([-1.0, 1.0], dtype=torch.float64)  # two points are exact for what is quadratic
    for objective, draws in ((fn.objectives.Vlb(), 1), (fn.objectives.TwoDraw(), 3)):
        schedule.zero_grad()
        grid = torch.cartesian_prod(*[signs] * (1 + draws)).repeat(40, 1)
        t = schedule.level(torch.arange(1, 41).repeat_interleave(2 ** (1 + draws)))
        noise = grid[:, 1:, None] if draws > 1 else grid[:, 1:]
        objective(denoiser, 0.5 * grid[:, :1], t, noise)["loss"].mean().backward()
        # height is top - bottom through a softplus: the slope in bottom with the top held
        slope = schedule.bottom.grad - schedule.height.grad / torch.sigmoid(schedule.height)
        assert slope.item() > 0  # descending it lowers the last log-SNR
        if draws == 1:
            assert slope.item() == pytest.approx(exact.item(), rel=0.02)


@pytest.mark.parametrize(("kind", "weight"), [("x0", lambda snr: snr.clamp_max(5)),
                                              ("eps", lambda snr: snr.clamp_max(5) / snr),
                                              ("v", lambda snr: snr.clamp_max(5) / (snr + 1))])  # fmt: skip
def test_min_snr_weights_are_the_papers(kind, weight):
    schedule = fn.schedules.Cosine(T=50)
    denoiser = fn.Denoiser(Wrong(), schedule, kind)
    x0, t, eps = batch(plane_mixture(), schedule)
    simple = fn.objectives.Simple()(denoiser, x0, t, eps)["loss"]
    got = fn.objectives.MinSNR()(denoiser, x0, t, eps)["loss"]
    torch.testing.assert_close(got, weight(torch.exp(t.log_snr)) * simple, rtol=1e-8, atol=0)


def test_the_two_draw_term_has_the_bounds_mean_and_more_variance():
    """Friedman eq. 15-18, right form: per t the means differ by (D/2) log(beta-tilde_t / b_s), and the variance is larger."""
    truth, schedule = plane_mixture(), fn.schedules.Linear(T=6, beta_start=0.05, beta_end=0.5)
    denoiser = fn.Denoiser(Wrong(), schedule, "v", "fixed_large")
    n = 60_000
    generator = torch.Generator().manual_seed(3)
    x0 = truth.sample(n, generator)
    for row in range(2, 7):
        noise = torch.randn(n, 3, 2, dtype=torch.float64, generator=generator)
        t, s = schedule.level(torch.full((n,), row)), schedule.level(torch.full((n,), row - 1))
        path = path_terms(denoiser, x0, t, noise, schedule.chain)
        closed = step_terms(denoiser, denoiser(diffuse(x0, noise[:, 0], t), t), x0, t, s, schedule.chain)
        b_s = step(s[0], schedule.level(row - 2)).b
        constant = torch.log(step(t[0], s[0]).variance / b_s)  # D/2 = 1
        error = ((path.var() + closed.var()) / n).sqrt()
        assert abs((path - constant).mean() - closed.mean()) < 4.5 * error
        assert path.var() > 1.2 * closed.var()


def test_the_decoder_of_the_two_draw_bound_is_l_vlbs():
    schedule = fn.schedules.Linear(T=6, beta_start=0.05, beta_end=0.5)
    denoiser = fn.Denoiser(Wrong(), schedule, "v", "fixed_large")
    x0, _, eps = batch(plane_mixture(), schedule, 5)
    t = schedule.level(torch.ones(5))
    noise = torch.stack([torch.zeros_like(eps), torch.zeros_like(eps), eps], 1)
    torch.testing.assert_close(
        fn.objectives.TwoDraw()(denoiser, x0, t, noise)["loss"], fn.objectives.Vlb()(denoiser, x0, t, eps)["loss"]
    )


@pytest.fixture(scope="module")
def optimal():
    """A mixture, its denoiser, and the variance that is estimated from 40,000 points of it."""
    truth, schedule = line_mixture(), fn.schedules.Linear(T=25, beta_end=0.4)
    denoiser = truth.denoiser(schedule)
    x0 = truth.sample(40_000, torch.Generator().manual_seed(0))
    return truth, denoiser, x0, optimal_variance(denoiser, x0, batch_size=4000)


@pytest.mark.parametrize("row", [3, 20])
def test_the_optimal_variance_is_estimated_from_data(optimal, row):
    """v* = beta-tilde + c^2 E tr Cov / D (Bao et al. 2022), E tr Cov by quadrature of the mixture."""
    truth, denoiser, x0, best = optimal
    schedule = denoiser.schedule
    t, s = schedule.level(row), schedule.level(row - 1)
    grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)[:, None]
    density, cov = truth.log_prob(grid, t).exp(), truth.moments(grid, t)[1][:, 0, 0]
    spread = torch.trapezoid(density * cov, grid[:, 0])
    k = step(t, s)
    exact = k.variance + k.from_x0**2 * spread
    got = torch.exp(best.log_var(denoiser(x0[:1], t), k, torch.log(k.variance)))
    assert got.item() == pytest.approx(exact.item(), rel=0.02)
    between = best.spread(schedule.level(row - 0.5))
    ends = [best.spread(schedule.level(r)).item() for r in (row - 1, row)]
    assert min(ends) < between.item() < max(ends)


def test_the_decoders_agree_where_the_reference_is_accurate():
    x = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    q = fn.Gaussian(torch.full_like(x, 0.2), torch.full_like(x, 2 * math.log(0.3)))
    mass = q.log_bin_tanh(x).exp()
    assert mass.sum().item() == pytest.approx(1, abs=1e-9)
    centre = slice(100, 200)
    torch.testing.assert_close(mass[centre], q.log_bin(x).exp()[centre], rtol=6e-3, atol=0)


def test_an_unknown_decoder_is_named():
    with pytest.raises(fn.FromNoiseError, match="unknown decoder 'tan'.*did you mean tanh"):
        fn.likelihood.vlb(plane_mixture().denoiser(fn.schedules.Linear(T=4)), torch.zeros(1, 2), decoder="tan")
