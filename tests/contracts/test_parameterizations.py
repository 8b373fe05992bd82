"""What every parameterisation promises: any to any and back."""

import pytest
import torch

import fromnoise as fn
from fromnoise.gaussian import diffuse, like, posterior
from fromnoise.parameterizations.prediction import Prediction

NAMES = fn.parameterizations.names()
build = fn.parameterizations.build
SCHEDULES = [fn.schedules.Linear(T=1000), fn.schedules.Cosine(T=40), fn.schedules.GeneralChain([0.9, 0.8], [0.4, 0.9])]


@pytest.fixture(params=SCHEDULES, ids=lambda s: type(s).__name__)
def case(request, generator):
    schedule = request.param
    x0, eps = torch.randn(2, 6, 3, dtype=torch.float64, generator=generator)
    t = schedule.level(torch.linspace(1, schedule.T, 6, dtype=torch.float64).round())
    return schedule, x0, eps, t, diffuse(x0, eps, t)


@pytest.mark.parametrize("name", NAMES)
def test_the_target_gives_everything_back(name, case):
    """target(x_0, eps) as the output gives x_0, eps, v and the score."""
    schedule, x0, eps, t, x_t = case
    kind = build(name)
    p = Prediction(x_t, t, kind.target(x0, eps, t, schedule), kind, schedule)
    scale = {"rtol": 1e-7, "atol": 1e-7}
    torch.testing.assert_close(p.x0, x0, **scale)
    torch.testing.assert_close(p.eps, eps, **scale)
    torch.testing.assert_close(p.v, like(t.alpha, x0) * eps - like(t.sigma, x0) * x0, **scale)
    torch.testing.assert_close(p.score, -eps / like(t.sigma, eps), **scale)


@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("second", NAMES)
def test_any_to_any_and_back(first, second, case, generator):
    """An arbitrary output, seen as another parameterisation's and back, is itself."""
    schedule, _, _, t, x_t = case
    one, two = build(first), build(second)
    output = torch.randn(x_t.shape, dtype=torch.float64, generator=generator)
    p = Prediction(x_t, t, output, one, schedule)
    q = Prediction(x_t, t, two.target(p.x0, p.eps, t, schedule), two, schedule)
    again = one.target(q.x0, q.eps, t, schedule)
    torch.testing.assert_close(again, output, rtol=1e-6, atol=1e-6)


def test_targets_are_the_papers(case):
    schedule, x0, eps, t, x_t = case

    def target(name):
        return build(name).target(x0, eps, t, schedule)

    assert torch.equal(target("eps"), eps)
    assert torch.equal(target("x0"), x0)
    torch.testing.assert_close(target("v"), like(t.alpha, x0) * eps - like(t.sigma, x0) * x0)
    torch.testing.assert_close(target("score"), -eps / like(t.sigma, eps))
    torch.testing.assert_close(target("score"), (like(t.alpha, x0) * x0 - x_t) / like(t.sigma, x0) ** 2)
    below = schedule.level(t.time - 1)
    torch.testing.assert_close(target("mean"), posterior(x0, x_t, t, below).mean)
    r, y = (
        like(t.sigma / t.alpha, x_t),
        x_t / like(t.alpha, x_t),
    )  # x0 = c_skip y + c_out F, Karras et al. 2022, table 1
    skip, out = 0.5**2 / (r**2 + 0.5**2), 0.5 * r / (r**2 + 0.5**2).sqrt()
    torch.testing.assert_close(target("edm"), (x0 - skip * y) / out, rtol=1e-7, atol=1e-7)


def test_eps_mean_is_algorithm_2s():
    """Sedykh eq. 2.80: mu = (x_t - (1 - alpha_t)/sqrt(1 - abar_t) eps)/sqrt(alpha_t), with eps relative to x_0."""
    schedule = fn.schedules.Linear(T=1000)
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    bar = torch.cumprod(1 - beta, 0)
    x_t, eps = torch.tensor([0.3], dtype=torch.float64), torch.tensor([-1.1], dtype=torch.float64)
    for t in (1, 2, 500, 1000):
        level = schedule.level(torch.tensor([float(t)]))
        p = Prediction(x_t, level, eps, build("eps"), schedule)
        mu = posterior(p.x0, x_t, level, schedule.level(torch.tensor([t - 1.0]))).mean
        alpha = 1 - beta[t - 1]
        right = (x_t - (1 - alpha) / (1 - bar[t - 1]).sqrt() * eps) / alpha.sqrt()
        torch.testing.assert_close(mu, right, rtol=1e-9, atol=1e-12)
        as_read = (x_t - (1 - alpha) / (1 - alpha).sqrt() * eps) / alpha.sqrt()  # Algorithm 2 as Sedykh prints it
        if t > 1:
            assert (mu - as_read).abs().item() > 1e-3


def test_score_at_the_clean_level_is_the_output():
    schedule = fn.schedules.Linear(T=10)
    x = torch.ones(2, 3)
    p = Prediction(x, schedule.level(0), 7 * x, build("score"), schedule)
    assert torch.equal(p.score, 7 * x)
    assert torch.equal(p.x0, x)


def test_changed_x0_keeps_the_state_consistent(case):
    schedule, x0, eps, t, x_t = case
    kind = build("eps")
    p = Prediction(x_t, t, eps + 1, kind, schedule).with_x0(x0)
    torch.testing.assert_close(p.x0, x0)
    torch.testing.assert_close(p.eps, eps)


def test_state_stays_float32():
    schedule = fn.schedules.Linear()
    x = torch.ones(2, 3)
    for name in NAMES:
        p = Prediction(x, schedule.level(500), x, build(name), schedule)
        assert {p.x0.dtype, p.eps.dtype, p.v.dtype, p.score.dtype} == {torch.float32}


def test_what_cannot_be_solved_is_refused():
    """No signal at T: eps, score, mean and EDM's output say nothing of x_0 there."""
    for kind in ("eps", "score", "edm"):
        with pytest.raises(fn.FromNoiseError, match="use parameterization v or x0"):
            fn.Denoiser(torch.nn.Identity(), fn.schedules.ZeroTerminal(), kind)
    for kind in ("v", "x0"):
        fn.Denoiser(torch.nn.Identity(), fn.schedules.ZeroTerminal(), kind)


def test_a_guide_at_a_level_without_signal_is_finite():
    schedule = fn.schedules.ZeroTerminal({"name": "linear", "T": 10})
    x = torch.ones(2, 3)
    p = Prediction(x, schedule.level(10), x, build("x0"), schedule, guide=x)
    assert p.x0.isfinite().all()
    assert p.eps.isfinite().all()


def test_options_of_a_parameterization():
    assert build({"name": "edm", "data_std": 0.2}).spec == {"name": "edm", "data_std": 0.2}
    with pytest.raises(fn.FromNoiseError, match=r"parameterization edm has no option 'std'.*it has data_std"):
        build({"name": "edm", "std": 0.2})
    with pytest.raises(fn.FromNoiseError, match="data_std must be positive"):
        build({"name": "edm", "data_std": 0})
    with pytest.raises(fn.FromNoiseError, match=r"parameterization.data_std: .*, got 'much'"):
        build({"name": "edm", "data_std": "much"})


@pytest.mark.parametrize("name", NAMES)
def test_what_files_hold_gives_the_same_object(name):
    kind = build(name)
    assert kind.spec == (name if name != "edm" else {"name": "edm", "data_std": 0.5})
    assert build(kind.spec) == kind
    assert kind.name == name


def test_unknown_name():
    with pytest.raises(fn.FromNoiseError, match=r"unknown parameterization 'epz' \(did you mean eps\?\)"):
        build("epz")
    with pytest.raises(
        fn.FromNoiseError, match="parameterization must be a name, edm, eps.*class Parameterization; got 3"
    ):
        fn.Denoiser(torch.nn.Identity(), "linear", 3)


class Halfway(fn.parameterizations.Parameterization):
    """2 F = x_0 + eps, which nobody registered."""

    def equation(self, t, schedule):
        one = torch.ones_like(t.alpha)
        return fn.parameterizations.Equation(2 * one, one, one)


def test_an_object_of_ones_own_is_taken_as_it_is(generator, tmp_path):
    """A Gaussian's exact denoiser behind it gives the samples that it gives as eps."""
    schedule = fn.schedules.Linear(T=50)

    class Exact(torch.nn.Module):  # data N(0, 1/4): E[x_0 | x_t] is linear in x_t
        def __init__(self, kind):
            super().__init__()
            self.kind = kind

        def forward(self, x, time):
            t = schedule.level(time.double() * (schedule.T / 1000) + 1)
            x0 = like(t.alpha * 0.25 / (t.alpha**2 * 0.25 + t.sigma**2), x) * x
            return self.kind.target(x0, (x - like(t.alpha, x) * x0) / like(t.sigma, x), t, schedule)

    one, two = (fn.Denoiser(Exact(k), schedule, k, shape=(1, 2, 2)) for k in (Halfway(), fn.parameterizations.Eps()))
    assert one.parameterization.name == "Halfway"
    torch.testing.assert_close(fn.sample(one, 4, steps=8), fn.sample(two, 4, steps=8), rtol=1e-3, atol=1e-4)
    x0, noise = torch.randn(2, 4, 1, 2, 2, generator=generator)
    losses = fn.objectives.Simple()(one, x0, schedule.level(torch.tensor([1.0, 9.0, 30.0, 50.0])), noise)["loss"]
    assert losses.isfinite().all()
    fn.save(one, tmp_path / "model")
    given = {"network": Exact(Halfway()), "schedule": schedule}
    with pytest.raises(fn.FromNoiseError, match="parameterization is of the class Halfway"):
        fn.load(tmp_path / "model", **given)
    again = fn.load(tmp_path / "model", parameterization=Halfway(), **given)
    assert torch.equal(fn.sample(again, 4, steps=8), fn.sample(one, 4, steps=8))
