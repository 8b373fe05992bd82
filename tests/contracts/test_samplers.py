"""What every sampler promises; a new one is tested before its author writes a test."""

import dataclasses
import math

import pytest
import torch
from conftest import Counting, line_mixture, pair_on_line, plane_mixture, student_for

import fromnoise as fn
from fromnoise.gaussian import step
from fromnoise.samplers import Moment, Sampler

OPTIONS = {
    "ancestral": [{"variance": "fixed_small"}, {"variance": "fixed_large"}],
    "ddim": [{}, {"eta": 0.5}, {"eta": 1.0}],
    "annealed-langevin": [{"n": 30, "size": 0.05}],  # long enough at each level to forget the last one
    "ode": [{"rtol": 1e-7, "atol": 1e-7}],
}
SAMPLERS = [fn.samplers.build({"name": n, **o}) for n in fn.samplers.names() for o in OPTIONS.get(n, [{}])]
FINE = fn.schedules.Cosine(T=4000)


def every(argument="sampler"):
    return pytest.mark.parametrize(argument, SAMPLERS, ids=repr)


def grid_levels(kind: str, n: int):
    """n + 1 levels from noise down to sigma > 0: even in log-SNR, or even in the angle of (alpha, sigma)."""
    if kind == "log-snr":
        return FINE.at(torch.linspace(-7.0, 3.0, n + 1, dtype=torch.float64))
    high, low = (math.atan2(math.exp(-s / 2), 1) for s in (-7.0, 3.0))
    angle = torch.linspace(high, low, n + 1, dtype=torch.float64)
    return FINE.at(2 * torch.log(1 / torch.tan(angle)))


def walk(sampler, denoiser, x, levels, noise):
    state = sampler.init(x)
    for i in range(len(levels.time) - 1):
        x, state = sampler.step(denoiser, x, levels[i], levels[i + 1], state, noise, None)
    return x


def cdf(truth, x, level):
    scale = (level.alpha**2 * truth.eigenvalues[:, 0] + level.sigma**2).sqrt()
    z = (x[:, None] - level.alpha * truth.means[:, 0]) / scale
    return (truth.log_weights.exp() * torch.special.ndtr(z)).sum(1)


def flow_error(sampler, truth, kind, n):
    """Mean |F_end(x_end) - F_start(x_start)|: 0 for the exact probability-flow ODE in one dimension."""
    levels = grid_levels(kind, n)
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    u = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
    start = cdf(truth, grid, levels[0])
    index = torch.searchsorted(start, u)
    share = (u - start[index - 1]) / (start[index] - start[index - 1])
    x = grid[index - 1] + share * (grid[index] - grid[index - 1])
    exact = cdf(truth, x, levels[0])
    end = walk(sampler, truth.denoiser(FINE), x[:, None], levels, None)
    return (cdf(truth, end[:, 0], levels[-1]) - exact).abs().mean().item()


def density_error(sampler, truth, kind, n):
    """Wasserstein-1 distance of the terminal density to the exact one, the density propagated on a grid.

    The sampler's own step is probed: x_s = f(x_t) + g(x_t) z, with z = 0 and z = 1.
    """
    levels = grid_levels(kind, n)
    x = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    h = (x[1] - x[0]).item()
    density = truth.log_prob(x[:, None], levels[0]).exp()
    denoiser = truth.denoiser(FINE)
    state = sampler.init(x[:, None])
    kernel = torch.empty(len(x), len(x), dtype=torch.float64)
    for i in range(n):
        t, s = levels[i], levels[i + 1]
        mean, _ = sampler.step(
            denoiser, x[:, None], t, s, state, lambda: torch.zeros(len(x), 1, dtype=torch.float64), None
        )
        upper, _ = sampler.step(
            denoiser, x[:, None], t, s, state, lambda: torch.ones(len(x), 1, dtype=torch.float64), None
        )
        std = upper - mean
        assert std.min().item() > 1.2 * h, "the grid is too coarse for this step"
        # exp(-z^2 / 2), in place: fresh pages cost more than the arithmetic. Beyond exp(-300), which is nothing here,
        # numbers would come to lie where a CPU is ten times slower (denormal).
        torch.sub(x, mean, out=kernel).mul_(1 / (std * math.sqrt(2))).square_().clamp_max_(300).neg_().exp_()
        density = (density * h / (std[:, 0] * math.sqrt(2 * math.pi))) @ kernel
    got = density.cumsum(0) * h
    exact = cdf(truth, x + h / 2, levels[-1])
    return (got - exact).abs().sum().item() * h


@every()
@pytest.mark.parametrize("kind", ["log-snr", "angle"])
@pytest.mark.parametrize("truth", [line_mixture, pair_on_line], ids=lambda f: f.__name__)
def test_measured_order_is_the_declared_one(sampler, truth, kind):
    if sampler.order is None:
        return
    stochastic = not _is_deterministic(sampler)
    error, sizes = (density_error, (60, 120)) if stochastic else (flow_error, (256, 512))
    coarse, fine = (error(sampler, truth(), kind, n) for n in sizes)
    order = math.log2(coarse / fine)
    assert order == pytest.approx(sampler.order, abs=0.1), (coarse, fine)


def _is_deterministic(sampler: Sampler) -> bool:
    truth = line_mixture()
    t, s = FINE.level(2000), FINE.level(1800)
    x = torch.zeros(1, 1, dtype=torch.float64)
    one, two = (sampler.step(truth.denoiser(FINE), x, t, s, sampler.init(x), lambda v=v: torch.full((1, 1), v, dtype=torch.float64), None)[0] for v in (0.0, 1.0))  # fmt: skip
    return torch.equal(one, two)


@every()
def test_same_seed_same_samples_and_another_another(sampler):
    denoiser = student_for(sampler, plane_mixture().denoiser(fn.schedules.Linear()))
    one = fn.sample(denoiser, 5, sampler, steps=7, seed=3)
    assert torch.equal(one, fn.sample(denoiser, 5, sampler, steps=7, seed=3))
    assert not (one == fn.sample(denoiser, 5, sampler, steps=7, seed=4)).any()


@every()
def test_a_sample_does_not_depend_on_its_batch(sampler):
    """Noise bit for bit, samples within 1e-12 in float64, or what an adaptive solver's tolerance makes of them."""
    atol = 1e3 * getattr(sampler, "rtol", 1e-15)
    denoiser = student_for(sampler, plane_mixture().denoiser(fn.schedules.Linear()))
    whole = fn.sample(denoiser, 11, sampler, steps=9, seed=1, batch_size=11)
    split = fn.sample(denoiser, 11, sampler, steps=9, seed=1, batch_size=4)
    tail = fn.sample(denoiser, 3, sampler, steps=9, seed=1, first=8)
    torch.testing.assert_close(whole, split, rtol=0, atol=atol)
    torch.testing.assert_close(whole[8:], tail, rtol=0, atol=atol)


def test_the_noise_of_a_sample_is_bit_for_bit_its_own():
    """What `noise()` gives sample i of seed s, call by call, for batches of 1, 4 and 11, on states of images."""

    class Spy(Sampler):
        order = None

        def __init__(self):
            self.seen = []

        def step(self, denoiser, x, t, s, state, noise, cond):
            self.seen.append(noise())
            return x, state

    def drawn(batch_size):
        spy = Spy()
        denoiser = fn.Denoiser(torch.nn.Identity(), "linear", shape=(3, 4, 4))
        start = fn.sample(denoiser, 11, spy, steps=3, seed=5, batch_size=batch_size)
        calls = [torch.cat(spy.seen[i::3]) for i in range(3)]
        return torch.stack([start, *calls])

    whole = drawn(11)
    assert torch.equal(whole, drawn(4))
    assert torch.equal(whole, drawn(1))
    assert len(whole.unique()) > 0.99 * whole.numel()


def assert_moments(x, truth):
    mean, cov = truth.mean_and_covariance()
    assert (x.mean(0) - mean).abs().max().item() < 0.06
    assert (torch.cov(x.T) - cov).abs().max().item() < 0.1


# One that walks many times at each level takes minutes: the same samples answer for their moments and distribution.
SLOW = [s for s in SAMPLERS if (s.nfe(60) or 0) > 1000]
NOISY = [s for s in SAMPLERS if s.nfe(1) is not None and not _is_deterministic(s)]
assert all(s in NOISY for s in SLOW)


def draw(truth, n, sampler, steps):
    """From the exact denoiser, or from the exact student that the sampler needs, which is exact in few steps."""
    denoiser = truth.denoiser(fn.schedules.Cosine())
    exact = student_for(sampler, denoiser, exact=True)
    return fn.sample(exact, n, sampler, steps=steps if exact is denoiser else 3, batch_size=n)


@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if s not in SLOW], ids=repr)
def test_terminal_moments(sampler):
    """3,000 samples of 60 steps have the mixture's mean and covariance, within the sampler's own bias."""
    truth = plane_mixture()
    steps = 5 if sampler.nfe(60) is None else 60  # a solver takes its own; here one only says where it stops
    x = draw(truth, 3000, sampler, steps)
    assert_moments(x, truth)


@pytest.mark.parametrize("sampler", NOISY, ids=repr)
def test_terminal_distribution_is_the_mixtures_own(sampler):
    """Kolmogorov and Smirnov's two-sample test along three directions: 3,000 samples against the mixture's own."""
    truth, n = plane_mixture(), 3000
    steps = 60 if sampler in SLOW else 200
    x = draw(truth, n, sampler, steps)
    assert_moments(x, truth)
    own = truth.sample(n, torch.Generator().manual_seed(0)).double()
    for direction in ((1.0, 0.0), (0.0, 1.0), (0.7, -0.7)):
        one, two = ((s @ torch.tensor(direction, dtype=torch.float64)).sort().values for s in (x.double(), own))
        both = torch.cat([one, two])
        gap = torch.searchsorted(one, both, right=True) - torch.searchsorted(two, both, right=True)
        assert gap.abs().max().item() / n < 2.2 * math.sqrt(2 / n)  # by chance once in 8,000


@every()
def test_the_last_step_adds_no_noise(sampler):
    """z only if t > 1: at s = 0 two different draws give the same x_0."""
    schedule = fn.schedules.Linear()
    denoiser = plane_mixture().denoiser(schedule)
    x = torch.randn(4, 2, dtype=torch.float64)
    ends = [sampler.step(denoiser, x, schedule.level(1), schedule.level(0), sampler.init(x),
                         lambda v=v: torch.full_like(x, v), None)[0] for v in (0.0, 5.0)]  # fmt: skip
    assert torch.equal(*ends)


@every()
def test_a_point_mass_is_reached(sampler):
    point = fn.oracle.FiniteData(torch.tensor([[0.3, -0.7]]))
    x = fn.sample(student_for(sampler, point.denoiser(fn.schedules.Linear())), 4, sampler, steps=5)
    torch.testing.assert_close(x, point.points.expand(4, 2), rtol=0, atol=1e-9)


@every()
def test_callback_sees_every_step(sampler):
    seen: list[Moment] = []
    denoiser = student_for(sampler, plane_mixture().denoiser(fn.schedules.Linear()))
    x = fn.sample(denoiser, 5, sampler, steps=4, callback=seen.append, batch_size=3)
    assert [(m.index, m.total, m.first) for m in seen] == [(i, 4, f) for f in (0, 3) for i in (1, 2, 3, 4)]
    assert seen[3].t.is_clean
    assert torch.equal(torch.cat([seen[3].x, seen[7].x]), x)


@every()
def test_samplers_are_frozen_and_keep_to_their_arguments(sampler):
    assert dataclasses.is_dataclass(sampler)
    with pytest.raises(dataclasses.FrozenInstanceError):
        sampler.anything = 1
    assert type(sampler).__doc__
    assert "=" in type(sampler).__doc__.split("\n")[0]


@every()
def test_the_network_is_called_without_gradient_in_evaluation_mode_and_left_as_it_was(sampler):
    class Probe(torch.nn.Module):
        calls = 0

        def forward(self, x, time):
            assert not self.training
            assert not torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
            assert x.dtype == torch.float32
            self.calls += 1
            return x

    denoiser = fn.Denoiser(Probe(), "linear", shape=(1, 4, 4))
    denoiser.train()
    assert fn.sample(student_for(sampler, denoiser), 2, sampler, steps=3).dtype == torch.float32
    assert denoiser.training
    assert denoiser.network.calls >= 3


@pytest.mark.parametrize("schedule", fn.schedules.names())
@every()
def test_it_runs_on_any_schedule_and_parameterisation(sampler, schedule):
    """One bounded network, whatever its output means; x0hat clipped, as an untrained eps would leave any range."""
    if sampler.nfe(1) is None:
        sampler = dataclasses.replace(sampler, rtol=1e-2, atol=1e-2)  # states are float32
    if hasattr(sampler, "n"):
        sampler = dataclasses.replace(sampler, n=1)  # Langevin steps at each level; one tells as much

    class Bounded(torch.nn.Module):
        def forward(self, x, time):
            return torch.tanh(x.mean(1, keepdim=True) + time.view(-1, 1, 1, 1) / 1000) * torch.ones_like(x)

    options = {
        "chain": {"gamma": [0.9] * 20, "sigma": [0.4] * 20},
        "zero-terminal": {"base": {"name": "linear", "T": 20, "beta_end": 0.4}},
        "linear": {"T": 20, "beta_end": 0.4},
        "learned": {"T": 20, "width": 4},
    }
    made = fn.schedules.build({"name": schedule, **options.get(schedule, {"T": 20})})
    kinds = fn.parameterizations.names()
    said = {kind for kind in kinds if fn.parameterizations.build(kind).solvable(made.chain[0], made)}
    no_signal = made.chain[0].alpha == 0
    assert said >= ({"v", "x0", "flow"} if no_signal else set(kinds))  # "eps" says nothing of x_0 without signal
    for kind in sorted(said):
        denoiser = fn.guidance.Clip(fn.Denoiser(Bounded(), made, kind, "fixed_small", (2, 3, 3)))
        for spacing in ("uniform", "log-snr", "karras") if kind in ("mean", "v") else ("log-snr",):
            x = fn.sample(student_for(sampler, denoiser), 2, sampler, steps=3, spacing=spacing)
            assert x.shape == (2, 2, 3, 3)
            assert torch.isfinite(x).all(), (kind, spacing)


@every()
def test_network_calls_are_as_declared(sampler):
    denoiser = Counting(plane_mixture().denoiser(fn.schedules.Linear()))
    for steps in (1, 2, 7):
        denoiser.sizes.clear()
        fn.sample(student_for(sampler, denoiser), 2, sampler, steps=steps)
        assert sampler.nfe(steps) in (len(denoiser.sizes), None)
        assert len(denoiser.sizes) >= steps


@every()
def test_an_output_that_is_no_number_names_its_step(sampler):
    class Breaks(torch.nn.Module):
        def forward(self, x, time):
            return torch.where((time < 600).view(-1, 1, 1, 1), torch.nan, 0.0) * x

    denoiser = fn.Denoiser(Breaks(), "linear", shape=(1, 2, 2))
    with pytest.raises(fn.FromNoiseError, match=r"after step \d of 10, from t = \d|output is not a number") as error:
        fn.sample(student_for(sampler, denoiser), 3, sampler, steps=10)
    if sampler.order == 1 and sampler.nfe(10) == 10:  # from t = 556, the fifth level, on
        assert "after step 5 of 10, from t = 556" in str(error.value)


def test_a_sampler_says_what_the_model_lacks_before_it_samples():
    class Never(torch.nn.Module):
        def forward(self, x, time):
            raise AssertionError

    denoiser = fn.Denoiser(Never(), "linear", shape=(1, 2, 2))
    for sampler in (fn.samplers.Ancestral("learned_range"), fn.samplers.PredictorCorrector(variance="learned_range")):
        with pytest.raises(fn.FromNoiseError, match="needs a model that learned its variance, and this one has fixed"):
            fn.sample(denoiser, 2, sampler)


def test_ddim_at_eta_1_is_ancestral_with_the_small_variance():
    """Exactly, given the same noise, on any sub-sequence (Sedykh 4.2)."""
    for spacing in ("uniform", "ddim", "quadratic"):
        denoiser = plane_mixture().denoiser(fn.schedules.Linear())
        options = {"steps": 20, "seed": 5, "spacing": spacing}
        one = fn.sample(denoiser, 6, fn.samplers.DDIM(eta=1.0), **options)
        two = fn.sample(denoiser, 6, fn.samplers.Ancestral(variance="fixed_small"), **options)
        torch.testing.assert_close(one, two, rtol=0, atol=1e-11)


def test_ddim_is_exact_in_one_step_for_a_point_mass():
    point = fn.oracle.FiniteData(torch.tensor([[0.3]]))
    schedule = fn.schedules.Linear()
    t, s = schedule.level(900), schedule.level(100)
    x = torch.tensor([[1.7]], dtype=torch.float64)
    got, _ = fn.samplers.DDIM().step(point.denoiser(schedule), x, t, s, None, None, None)
    eps = (x - t.alpha * 0.3) / t.sigma
    assert got.item() == pytest.approx((s.alpha * 0.3 + s.sigma * eps).item(), abs=1e-7)  # 0.3 is a float32 point


def test_ddim_noise_is_the_papers():
    """sigma(eta) = eta sqrt((1 - abar_s)/(1 - abar_t)) sqrt(1 - abar_t/abar_s) (Sedykh eq. 4.19)."""
    schedule = fn.schedules.Linear()
    t, s = schedule.level(600), schedule.level(400)
    bar_t, bar_s = t.alpha**2, s.alpha**2
    paper = 0.7 * ((1 - bar_s) / (1 - bar_t)).sqrt() * (1 - bar_t / bar_s).sqrt()
    x = torch.zeros(1, 1, dtype=torch.float64)
    denoiser = plane_mixture().denoiser(schedule)
    denoiser = pair_on_line().denoiser(schedule)
    ends = [
        fn.samplers.DDIM(eta=0.7).step(denoiser, x, t, s, None, lambda v=v: torch.full_like(x, v), None)[0]
        for v in (0.0, 1.0)
    ]
    assert (ends[1] - ends[0]).item() == pytest.approx(paper.item(), rel=1e-10)


def test_algorithm_2_as_printed_is_wrong():
    """On N(0, 0.25) the right Algorithm 2 keeps the variance; the thesis' alpha_t in place of alpha_bar_t does not."""
    truth = fn.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.full((1, 1, 1), 0.25))
    schedule = fn.schedules.Linear()
    right = wrong = 1.0
    for t, s in schedule.steps(1000).pairs():
        k = step(t, s)
        one = torch.ones(1, 1, dtype=torch.float64)
        slope = fn.reverse(truth.denoiser(schedule)(one, t), t, s, fn.variances.FixedLarge()).mean.item()
        noise = 0.0 if s.is_clean else k.b.item()
        right = slope**2 * right + noise
        eps = truth.denoiser(schedule)(one, t).eps.item()
        alpha = (k.a**2).item()
        as_read = (1 - (1 - alpha) / math.sqrt(1 - alpha) * eps) / math.sqrt(alpha)
        wrong = as_read**2 * wrong + noise
    assert right == pytest.approx(0.25, abs=0.003)
    assert wrong < 0.1


def test_clipping_bounds_the_prediction():
    class Wild(torch.nn.Module):
        def forward(self, x, time):
            return 5 * torch.ones_like(x)

    denoiser = fn.Denoiser(Wild(), "linear", "x0", shape=(1, 2, 2))
    free = fn.sample(denoiser, 2, "ancestral", steps=5)
    bounded = fn.sample(fn.guidance.Clip(denoiser), 2, "ancestral", steps=5)
    assert torch.equal(bounded, torch.ones_like(bounded))
    torch.testing.assert_close(free, 5 * torch.ones_like(free))
    level = denoiser.schedule.level(500)
    x = torch.randn(2, 1, 2, 2)
    p = fn.guidance.Clip(denoiser)(x, level)
    torch.testing.assert_close(p.eps, ((x - level.alpha * p.x0) / level.sigma).float())


def test_bad_requests_are_refused_before_any_call():
    class Never(torch.nn.Module):
        def forward(self, x, time):
            raise AssertionError

    denoiser = fn.Denoiser(Never(), "linear", shape=(1, 2, 2))
    for message, options in [
        ("between 1 and 1000", {"steps": 1001}),
        ("between 1 and 1000", {"steps": 0}),
        ("unknown spacing", {"spacing": "even"}),
        ("unknown sampler 'dimm'", {"sampler": "dimm"}),
        ("at least 1", {"batch_size": 0}),
    ]:
        with pytest.raises(fn.FromNoiseError, match=message):
            fn.sample(denoiser, 2, **options)
    with pytest.raises(fn.FromNoiseError, match="at least 1"):
        fn.sample(denoiser, 0)
    with pytest.raises(fn.FromNoiseError, match="no shape"):
        fn.sample(fn.Denoiser(Never(), "linear"), 2)
    with pytest.raises(fn.FromNoiseError, match=r"eta must lie in \[0, 1\]"):
        fn.samplers.DDIM(eta=1.5)
    with pytest.raises(fn.FromNoiseError, match="unknown variance"):
        fn.samplers.Ancestral(variance="small")


def test_samples_are_unipcs_in_20_steps_unless_one_says_otherwise():
    denoiser = plane_mixture().denoiser(fn.schedules.Linear())
    usual = fn.sample(denoiser, 4)
    assert torch.equal(usual, fn.sample(denoiser, 4, fn.samplers.UniPC(), 20, spacing="log-snr"))
    assert torch.equal(
        fn.sample(denoiser, 4, "ddim"), fn.sample(denoiser, 4, fn.samplers.DDIM(), 50, spacing="uniform")
    )
    assert torch.equal(fn.sample(denoiser, 4, "unipc"), fn.sample(denoiser, 4, "unipc", 50, spacing="log-snr"))
    short = plane_mixture().denoiser(fn.schedules.Linear(T=7, beta_end=0.5))
    assert torch.equal(fn.sample(short, 4), fn.sample(short, 4, "unipc", 7))


def test_the_usual_sampler_is_as_good_in_20_steps_as_in_1000():
    """Wasserstein-1 distance to the mixture, on its scale of 1: what 20 steps add is less than a twentieth."""
    truth = line_mixture()
    u = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    grid = torch.linspace(-4, 4, 80_001, dtype=torch.float64)
    exact = grid[torch.searchsorted(cdf(truth, grid, FINE.level(0)), u).clamp_max(80_000)]
    for schedule in (fn.schedules.Linear(), fn.schedules.Cosine()):
        few, many = (
            fn.sample(truth.denoiser(schedule), (4000, 1), steps=n, batch_size=4000)[:, 0].sort().values
            for n in (20, 1000)
        )
        assert (few - exact).abs().mean() < (many - exact).abs().mean() + 0.05


def test_heuns_later_options_leave_older_descriptions_valid():
    """Evaluations and pairs are found by the description of their sampler; an older one is `{"name", "churn"}`."""
    assert fn.registry.spec(fn.samplers.Heun()) == {"name": "heun", "churn": 0.0}
    whole = fn.samplers.Heun(0.3, 0.05, 50.0, 1.003)
    told = {"name": "heun", "churn": 0.3, "churn_min": 0.05, "churn_max": 50.0, "churn_noise": 1.003}
    assert fn.registry.spec(whole) == told
    assert fn.samplers.build(told) == whole


@pytest.mark.parametrize("option", [{"churn_min": -1.0}, {"churn_max": math.inf}, {"churn_noise": 0.0},
                                    {"churn_noise": math.nan}, {"churn_min": 2.0, "churn_max": 1.0}])  # fmt: skip
def test_heun_refuses_limits_that_make_no_sense(option):
    with pytest.raises(fn.FromNoiseError, match=f"sampler.{list(option)[-1]}"):
        fn.samplers.Heun(churn=0.1, **option)


@pytest.mark.parametrize(
    ("churn", "low", "high", "inflated"),
    [(0.0, 0, None, 1), (0.3, 0, None, 1), (0.3, 0.05, 20, 1.003), (0.3, 1, None, 0.9)],
)
def test_heun_is_karras_algorithm_where_the_signal_is_kept(churn, low, high, inflated):
    """Algorithm 2 of Karras et al. 2022 written out, D the denoiser, on EDM's own grid."""
    schedule, truth = fn.schedules.EDM(), plane_mixture()
    chain = schedule.steps(12)
    draws = [torch.randn(6, 2, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(13)]
    mine, noises = 80 * draws[12], iter(draws)
    for t, s in chain.pairs():
        sampler = fn.samplers.Heun(churn, low, high, inflated)
        mine, _ = sampler.step(truth.denoiser(schedule), mine, t, s, None, lambda: next(noises), None)

    def denoised(x, sigma):
        return truth.denoiser(schedule)(x, schedule.at(-2 * torch.log(sigma))).x0

    x, noises = 80 * draws[12], iter(draws)
    for t, s in chain.pairs():
        hat = t.sigma
        if churn and t.sigma >= low and (high is None or t.sigma <= high):
            hat = torch.minimum(t.sigma * (1 + churn), chain[0].sigma)
            if hat > t.sigma:
                x = x + torch.sqrt(hat**2 - t.sigma**2) * inflated * next(noises)
        d = (x - denoised(x, hat)) / hat
        ahead = x + (s.sigma - hat) * d
        if not s.is_clean:
            ahead = x + (s.sigma - hat) * (d + (ahead - denoised(ahead, s.sigma)) / s.sigma) / 2
        x = ahead
    torch.testing.assert_close(mine, x, rtol=0, atol=1e-8)
