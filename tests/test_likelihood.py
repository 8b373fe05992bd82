"""The bound against closed forms: grey levels, Gaussians, and other people's decoder."""

import math

import pytest
import scipy.stats
import torch
from conftest import plane_mixture

import fromnoise as fn
from fromnoise.bound import prior_kl, step_terms
from fromnoise.gaussian import Gaussian, diffuse, posterior, step
from fromnoise.parameterize import X0, Prediction
from fromnoise.schedules.base import Discrete
from fromnoise.variance import LearnedRange, Optimal, reverse

LEVELS = torch.tensor([0, 36, 73, 109, 146, 182, 219, 255], dtype=torch.float64) / 127.5 - 1
EPS = torch.linspace(-8, 8, 1001, dtype=torch.float64)
WEIGHT = torch.exp(-(EPS**2) / 2) / math.sqrt(2 * math.pi) * (EPS[1] - EPS[0])


def straight(total: int) -> Discrete:
    """Rows with log-SNR even from 13.3 (t = 1) to -9 (t = T)."""
    log_snr = torch.linspace(13.3, -9, total, dtype=torch.float64)
    return Discrete(torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt())


def grey_states(t):
    """(x_0, x_t, weight) for every grey level and every eps of the quadrature: [8 * 1001, 1]."""
    x0 = LEVELS.repeat_interleave(len(EPS))[:, None]
    return x0, diffuse(x0, EPS.repeat(8)[:, None], t), WEIGHT.repeat(8) / 8


@pytest.mark.parametrize(("total", "expected"), [(10, 4.2132), (50, 3.2385), (200, 3.0589), (1000, 3.0117)])
def test_the_bound_of_eight_grey_levels_approaches_three_bits(total, expected):
    """math: 8 equiprobable levels have 3 bits; best isotropic variance, expectations by quadrature."""
    schedule = straight(total)
    denoiser = fn.oracle.FiniteData(LEVELS[:, None]).denoiser(schedule)
    spread = {}
    for t, _ in schedule.chain.pairs():
        x0, x_t, weight = grey_states(t)
        spread[t.time.item()] = (weight * (x0 - denoiser(x_t, t).x0)[:, 0] ** 2).sum()
    denoiser.variance = Optimal(lambda t: spread[t.time[0].item()].expand(len(t.time)))
    bits = (prior_kl(denoiser, LEVELS[:, None], schedule.level(total)).mean() / math.log(2)).item()
    for t, s in schedule.chain.pairs():
        x0, x_t, weight = grey_states(t)
        n = len(x0)
        batch_t, batch_s = t.expand(n), s.expand(n)
        terms = step_terms(denoiser, denoiser(x_t, batch_t), x0, batch_t, batch_s, schedule.chain)
        bits += ((weight * terms).sum() / math.log(2)).item()
    assert bits == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("total", [5, 40, 300])
@pytest.mark.parametrize("variance", [0.2, 3.0])
def test_gaussian_data_make_the_bound_an_identity(total, variance):
    """For x_0 ~ N(0, S) with v*: the whole bound is H(q) + KL(q(x_T) | N(0, I)), for any T, to 1e-9 nats."""
    schedule = straight(total)
    truth = fn.oracle.GaussianMixture(
        torch.ones(1), torch.zeros(1, 1), torch.full((1, 1, 1), variance, dtype=torch.float64)
    )
    exact = Optimal(lambda t: variance * t.sigma**2 / (t.alpha**2 * variance + t.sigma**2))
    denoiser = truth.denoiser(schedule)
    bound = 0.0
    nodes = torch.tensor([-1.0, 1.0], dtype=torch.float64)  # two-point quadrature: exact for quadratic integrands
    for t, s in schedule.chain.pairs():
        x0 = (math.sqrt(variance) * nodes).repeat_interleave(2)[:, None]
        x_t = diffuse(x0, nodes.repeat(2)[:, None], t)
        model = reverse(denoiser(x_t, t), t, s, exact, schedule.chain)
        term = -model.log_prob(x0) if s.is_clean else posterior(x0, x_t, t, s).kl(model)
        bound += term.mean().item()
    last = schedule.level(total)
    total_variance = (last.alpha**2 * variance + last.sigma**2).item()
    start = (total_variance - 1 - math.log(total_variance)) / 2
    prior = prior_kl(denoiser, math.sqrt(variance) * nodes[:, None], last).mean().item()
    entropy = math.log(2 * math.pi * math.e * variance) / 2
    assert bound + prior == pytest.approx(entropy + start, abs=1e-9)


def test_terms_are_the_closed_forms_of_a_mixture(generator):
    """L_{t-1} at beta-tilde = (SNR_s - SNR_t) |x_0 - x0hat|^2 / 2, for every example."""
    schedule = fn.schedules.Linear(T=100)
    truth = plane_mixture()
    denoiser = truth.denoiser(schedule, "fixed_small")
    x0 = truth.sample(50, generator)
    t, s = schedule.level(torch.full((50,), 40.0)), schedule.level(torch.full((50,), 39.0))
    p = denoiser(diffuse(x0, torch.randn(50, 2, dtype=torch.float64, generator=generator), t), t)
    got = step_terms(denoiser, p, x0, t, s, schedule.chain)
    gap = torch.exp(s.log_snr) - torch.exp(t.log_snr)
    torch.testing.assert_close(got, gap / 2 * (x0 - p.x0).square().sum(1), rtol=1e-9, atol=0)


@pytest.mark.parametrize("row", [2, 20, 45, 60])
def test_learned_range_is_minimal_at_its_closed_form_optimum(row):
    """d E L_t / d f = 0 at f = log(v*/beta-tilde) / log(b/beta-tilde), v* = beta-tilde + c^2 E tr Cov / D."""
    schedule = fn.schedules.Linear(T=100, beta_end=0.2)
    t, s = schedule.level(row), schedule.level(row - 1)
    denoiser = fn.oracle.FiniteData(LEVELS[:, None]).denoiser(schedule)
    denoiser.variance = LearnedRange()
    x0, x_t, weight = grey_states(t)
    x0hat = denoiser(x_t, t).x0
    k = step(t, s)
    best = k.variance + k.from_x0**2 * (weight * (x0 - x0hat)[:, 0] ** 2).sum()
    fraction = torch.log(best / k.variance) / torch.log(k.b / k.variance)
    n = len(x0)
    for offset, sign in ((0.0, 0), (-0.05, -1), (0.05, 1)):
        f = (fraction + offset).clone().requires_grad_()
        p = Prediction(x_t, t.expand(n), x0hat, X0(), schedule, f.expand(n, 1))
        loss = (weight * step_terms(denoiser, p, x0, t.expand(n), s.expand(n), schedule.chain)).sum()
        (slope,) = torch.autograd.grad(loss, f)
        if sign:
            assert slope.item() * sign > 1e-7
        else:
            assert abs(slope.item()) < 1e-11


class ExactMean(torch.nn.Module):
    """The exact x0hat of the grey levels, and one number a row for the variance: what training can still learn."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.truth = schedule, fn.oracle.FiniteData(LEVELS[:, None])
        self.raw = torch.nn.Parameter(torch.zeros(schedule.T + 1, dtype=torch.float64))

    def forward(self, x, time):
        row = (time.double() * self.schedule.T / 1000 + 1).round()
        return torch.cat([self.truth.mean(x, self.schedule.level(row)), self.raw[row.long()][:, None]], 1)


@pytest.mark.parametrize("objective", ["vlb", "hybrid"])
def test_learned_range_converges_to_its_closed_form_optimum(objective):
    """Trained by the shipped objective, every row's fraction ends at log(v*/beta-tilde)/log(b/beta-tilde)."""
    schedule = fn.schedules.Linear(T=8, beta_start=0.02, beta_end=0.4)
    network = ExactMean(schedule)
    denoiser = fn.Denoiser(network, schedule, "x0", "learned_range")
    few = torch.linspace(-6, 6, 121, dtype=torch.float64)
    weight = (torch.exp(-(few**2) / 2) / math.sqrt(2 * math.pi) * 0.1).repeat(8 * 7) / 8
    x0 = LEVELS.repeat_interleave(121).repeat(7)[:, None]
    eps = few.repeat(8 * 7)[:, None]
    t = schedule.level(torch.arange(2, 9).repeat_interleave(8 * 121))
    optimizer = torch.optim.LBFGS(
        network.parameters(), max_iter=60, line_search_fn="strong_wolfe", tolerance_change=1e-14
    )
    loss = fn.objectives.build(objective)

    def closure():
        optimizer.zero_grad()
        value = (weight * loss(denoiser, x0, t, eps)["loss"]).sum()
        value.backward()
        return value

    optimizer.step(closure)
    learned = (network.raw.detach()[2:] + 1) / 2
    for row, fraction in zip(range(2, 9), learned, strict=True):
        level = schedule.level(row)
        k = step(level, schedule.level(row - 1))
        x_t = diffuse(x0[: 8 * 121], eps[: 8 * 121], level)
        spread = (weight[: 8 * 121] * (x0[: 8 * 121] - network.truth.mean(x_t, level))[:, 0] ** 2).sum()
        best = torch.log((k.variance + k.from_x0**2 * spread) / k.variance) / torch.log(k.b / k.variance)
        assert fraction.item() == pytest.approx(best.item(), abs=1e-3)
    assert learned.max() - learned.min() > 0.2


def test_bins_are_the_normal_distributions(generator):
    """log_bin against scipy's exact log-CDF, far tails and open ends included; the 256 bins add up to 1."""
    x = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    for mean, std in ((0.0, 0.5), (0.9, 0.01), (-3.0, 0.02), (2.0, 5.0)):
        got = Gaussian(torch.full_like(x, mean), torch.full_like(x, 2 * math.log(std))).log_bin(x)
        assert torch.logsumexp(got, 0).item() == pytest.approx(0, abs=1e-9)
        for i in (1, 50, 128, 254):
            upper, lower = ((x[i].item() + side / 255 - mean) / std for side in (1, -1))
            if lower > 0:
                upper, lower = -lower, -upper
            high, low = scipy.stats.norm.logcdf(upper), scipy.stats.norm.logcdf(lower)
            exact = high + math.log1p(-math.exp(low - high))
            assert got[i].item() == pytest.approx(exact, rel=1e-8)


def test_gradients_of_the_decoder_are_finite_everywhere():
    x = torch.arange(256.0)[:, None] / 127.5 - 1
    mean = torch.linspace(-2, 2, 33).repeat(256, 1).requires_grad_()
    for log_var in (-14.0, -5.0, 2.0):
        grad = torch.autograd.grad(
            Gaussian(mean, torch.full_like(mean, log_var)).log_bin(x.expand_as(mean)).sum(), mean
        )[0]
        assert grad.isfinite().all()


def small_denoiser(variance="learned_range"):
    torch.manual_seed(0)
    network = fn.nn.UNet(in_channels=1, out_channels=2 if variance == "learned_range" else 1, channels=8, mult=(1, 2), blocks=1,
                         groups=4, attention=())  # fmt: skip
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return fn.Denoiser(network, fn.schedules.Cosine(T=20), "eps", variance, (1, 8, 8))


def eight_bit(n=3):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (n, 1, 8, 8), generator=generator) / 127.5 - 1


def test_vlb_adds_up_and_does_not_depend_on_the_batch():
    denoiser, x0 = small_denoiser(), eight_bit()
    bound = fn.likelihood.vlb(denoiser, x0)
    assert (bound.prior.shape, bound.steps.shape, bound.decoder.shape, bound.times.tolist()) == (
        (3,),
        (3, 19),
        (3,),
        list(range(20, 1, -1)),
    )
    torch.testing.assert_close(bound.total, bound.prior + bound.steps.sum(1) + bound.decoder)
    assert bound.total.min() > 0
    alone = fn.likelihood.vlb(denoiser, x0[2:], first=2)
    torch.testing.assert_close(alone.total, bound.total[2:], rtol=1e-4, atol=1e-4)
    report = fn.likelihood.summary([fn.likelihood.vlb(denoiser, x0[:2]), alone])
    assert report["n"] == 3
    assert report["bits_per_dim"] == pytest.approx(bound.total.mean().item(), rel=1e-4)
    assert report["bits_per_dim"] == pytest.approx(report["prior"] + sum(report["steps"]) + report["decoder"], rel=1e-6)
    assert report["standard_error"] == pytest.approx(bound.total.double().std().item() / 3**0.5, rel=1e-3)


def test_the_prior_term_is_in_the_total_where_it_matters():
    """A chain that ends early leaves much of the image at T: L_T is the closed form at its first level."""
    denoiser, x0 = small_denoiser(), eight_bit()
    denoiser.schedule = fn.schedules.Linear(T=5)
    bound = fn.likelihood.vlb(denoiser, x0)
    t = denoiser.schedule.level(5)
    square = x0.double().square().flatten(1).mean(1)
    exact = (t.alpha**2 * square + t.sigma**2 - 1 - torch.log(t.sigma**2)) / 2 / math.log(2)
    assert exact.min() > 1
    torch.testing.assert_close(bound.prior.double(), exact, rtol=1e-5, atol=0)
    torch.testing.assert_close(bound.total, bound.prior + bound.steps.sum(1) + bound.decoder)


def test_anything_but_8_bits_is_refused():
    for x0 in (eight_bit() + 0.001, 2 * eight_bit(), torch.rand(2, 1, 8, 8)):
        with pytest.raises(fn.FromNoiseError, match="8-bit"):
            fn.likelihood.vlb(small_denoiser(), x0)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range"])
def test_the_vlb_objective_is_an_unbiased_draw_of_the_bound(variance):
    """Averaged over every t with the likelihood's own noise, L_vlb is the bound without its prior term."""
    denoiser, x0 = small_denoiser(variance), eight_bit(1)
    bound = fn.likelihood.vlb(denoiser, x0, seed=4)
    schedule, total = denoiser.schedule, 0.0
    for i, (t, _) in enumerate(schedule.chain.pairs()):
        eps = fn.rng.normal(4, [0], i, (1, 8, 8), fn.rng.Stream.LIKELIHOOD)
        total += fn.objectives.Vlb()(denoiser, x0, t.expand(1), eps)["loss"].item() / schedule.T
    assert total == pytest.approx((bound.total - bound.prior).item(), rel=1e-5)


def test_the_hybrid_objective_stops_the_bounds_gradient_at_the_mean():
    denoiser, x0 = small_denoiser(), eight_bit()
    t = denoiser.schedule.level(torch.tensor([1.0, 7.0, 20.0]))
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))

    def gradients(objective):
        denoiser.zero_grad()
        objective(denoiser, x0, t, eps)["loss"].mean().backward()
        return denoiser.network.out.weight.grad.clone()

    simple, hybrid = gradients(fn.objectives.Simple()), gradients(fn.objectives.Hybrid(weight=0.5))
    assert torch.allclose(simple[0], hybrid[0], rtol=1e-5, atol=1e-8)  # the mean's output: untouched by the bound
    assert not simple[1].any()
    assert hybrid[1].abs().max() > 1e-6
    terms = fn.objectives.Hybrid(weight=0.5)(denoiser, x0, t, eps)
    torch.testing.assert_close(terms["loss"], terms["simple"] + 0.5 * terms["vlb"])
    torch.testing.assert_close(terms["vlb"], fn.objectives.Vlb()(denoiser, x0, t, eps)["vlb"])
