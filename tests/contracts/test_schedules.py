"""What every schedule promises."""

import math

import pytest
import torch

import fromnoise as fn
from fromnoise.gaussian import step
from fromnoise.schedules.base import Discrete
from fromnoise.schedules.continuous import Continuous

EXAMPLES = {
    "linear": [{"T": 1000}, {"T": 1}, {"T": 7, "beta_start": 0.01, "beta_end": 0.5}],
    "cosine": [{"T": 1000}, {"T": 4000}, {"T": 3}, {"T": 100, "shift": -1.0}],
    "chain": [
        {"gamma": [0.9, 0.8, 0.5], "sigma": [0.1, 0.4, 0.8]},
        {"gamma": [1.0] * 9, "sigma": [0.1 * 2**i for i in range(9)]},
    ],
    "scaled-linear": [{"T": 1000}, {"T": 1}, {"T": 20, "beta_start": 0.05, "beta_end": 0.4}],
    "sigmoid": [{"T": 1000}, {"T": 50, "start": 0.0, "tau": 0.3}],
    "vp": [{"T": 1000}, {"T": 1}, {"T": 30, "beta_min": 3.0, "beta_max": 3.0}],
    "ve": [{"T": 1000}, {"T": 1}, {"T": 12}],
    "edm": [{"T": 18}, {"T": 1}, {"T": 200, "rho": 3.0}],
    "zero-terminal": [{}, {"base": {"name": "cosine", "T": 30}}, {"base": {"name": "linear", "T": 2}}],
    "learned": [{"T": 100, "width": 32}, {"T": 2, "width": 1}],
}
EXPLODING = ("GeneralChain", "VE", "EDM")
CASES = [fn.schedules.build({"name": n, **options}) for n in fn.schedules.names() for options in EXAMPLES.get(n, [{}])]


@pytest.fixture(params=CASES, ids=lambda s: f"{type(s).__name__}-{s.T}")
def schedule(request):
    return request.param


def test_snr_falls_and_row_0_is_clean(schedule):
    """Weng eq. 12: the SNR falls from row to row."""
    level = schedule.level(torch.arange(schedule.T + 1))
    assert level.alpha.dtype == level.sigma.dtype == torch.float64
    assert (level.alpha[0], level.sigma[0]) == (1, 0)
    assert level[0].is_clean
    assert not level[1].is_clean
    assert bool(level.log_snr[0].isinf())
    assert bool((level.log_snr[1:] < level.log_snr[:-1]).all())


def test_fractional_times_are_monotone_and_meet_the_rows(schedule):
    t = torch.linspace(0, schedule.T, 50 * schedule.T + 1, dtype=torch.float64)[:200_000]
    snr = schedule.level(t).log_snr
    assert bool((snr[1:] < snr[:-1]).all())
    for row in {1, schedule.T}:
        if schedule.level(row).alpha == 0:
            continue  # the log-SNR falls to -inf there
        exact, close = schedule.level(row), schedule.level(row - 1e-9)
        assert close.alpha.item() == pytest.approx(exact.alpha.item(), rel=1e-6)
        assert close.sigma.item() == pytest.approx(exact.sigma.item(), rel=1e-6)


def test_at_inverts_level(schedule, generator):
    t = torch.rand(500, dtype=torch.float64, generator=generator) * schedule.T
    t = torch.cat([t, torch.arange(schedule.T + 1)])
    level = schedule.level(t)
    again = schedule.at(level.log_snr)
    torch.testing.assert_close(again.log_snr, level.log_snr, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(again.time, t, rtol=1e-7, atol=1e-7)
    assert schedule.at(math.inf).is_clean
    if schedule.chain[0].alpha == 0:
        assert schedule.at(-math.inf).time == schedule.T
        return
    with pytest.raises(ValueError, match="log-SNR ends"):
        schedule.at(level.log_snr.min().item() - 1)


def test_variance_preserving_schedules_stay_so_between_rows(schedule):
    if type(schedule).__name__ in {*EXPLODING, "SubVP", "Rectified"}:
        return
    level = schedule.level(torch.linspace(0, schedule.T, 777, dtype=torch.float64))
    torch.testing.assert_close(
        level.alpha**2 + level.sigma**2, torch.ones(777, dtype=torch.float64), rtol=1e-13, atol=0
    )


def test_steps_compose(schedule):
    """q(x_u | x_s) through t: a and b of two steps make those of one."""
    rows = sorted({0, schedule.T // 2, schedule.T})
    if len(rows) < 3:
        return
    s, t, u = (schedule.level(r) for r in rows)
    one, first, second = step(u, s), step(t, s), step(u, t)
    assert (first.a * second.a).item() == pytest.approx(one.a.item(), rel=1e-12)
    assert (second.a**2 * first.b + second.b).item() == pytest.approx(one.b.item(), rel=1e-11)


def test_outside_is_an_error(schedule):
    for t in (-0.1, schedule.T + 0.1, math.nan):
        with pytest.raises(ValueError, match="t must lie"):
            schedule.level(t)


def test_prior_is_close_to_the_last_marginal(schedule):
    prior = schedule.prior()
    assert prior.mean.item() == 0
    exploding = type(schedule).__name__ in EXPLODING
    last = schedule.level(schedule.T).sigma.item()
    assert prior.log_var.exp().item() == pytest.approx(last**2 if exploding else 1.0, rel=1e-12)


def test_draw_is_uniform_over_the_rows(schedule):
    u = (torch.arange(schedule.T * 3, dtype=torch.float64) + 0.5) / (schedule.T * 3)
    times = schedule.draw(u).time
    assert torch.equal(times.unique(), torch.arange(1, schedule.T + 1, dtype=torch.float64))
    assert torch.equal(torch.bincount(times.long())[1:], torch.full((schedule.T,), 3))
    assert schedule.draw(torch.tensor([1.0 - 2**-53])).time.item() == schedule.T


@pytest.mark.parametrize("spacing", ["uniform", "ddim", "quadratic"])
def test_chains_descend_to_clean(schedule, spacing):
    for n in {1, min(2, schedule.T), schedule.T}:
        chain = schedule.steps(n, spacing)
        assert len(chain) == chain.steps + 1 <= n + 1
        assert [v.time.item() for v in chain] == chain.levels.time.tolist()
        assert chain[0].time > chain[-1].time == 0
        assert chain.levels[-1].is_clean
        times = chain.levels.time
        assert bool((times[1:] < times[:-1]).all())
        pairs = list(chain.pairs())
        assert len(pairs) == chain.steps
        for t, s in pairs:
            assert chain.below(t).time == s.time
            assert chain.above(s).time == t.time
    with pytest.raises(ValueError, match="not a level"):
        chain.below(schedule.level(0.5))
    with pytest.raises(ValueError, match="ends here"):
        chain.above(chain[0])
    with pytest.raises(ValueError, match="ends here"):
        chain.below(chain[-1])


def test_wrong_chains_are_refused(schedule):
    rows_only = isinstance(schedule, Discrete) and not isinstance(schedule, Continuous)
    for n in (0, -1, schedule.T + 1):
        if n > schedule.T and not rows_only:
            assert schedule.steps(n).steps == (n if schedule.T > 1 else 1)
            continue
        with pytest.raises(fn.FromNoiseError, match=f"between 1 and {schedule.T}" if rows_only else "at least 1"):
            schedule.steps(n)
    with pytest.raises(fn.FromNoiseError, match="did you mean uniform"):
        schedule.steps(1, "unifrom")


def test_spacings_are_the_papers():
    schedule = fn.schedules.Linear(T=1000)

    def rows(n, spacing):
        return schedule.steps(n, spacing).levels.time.long().tolist()[::-1][1:]

    assert rows(50, "ddim")[-1] == 981
    assert rows(10, "ddim") == [1, 101, 201, 301, 401, 501, 601, 701, 801, 901]
    assert rows(50, "quadratic")[-1] == 801
    assert [len(rows(n, "quadratic")) for n in (10, 50, 100, 1000)] == [10, 49, 96, 688]
    assert rows(4, "uniform") == [1, 334, 667, 1000]
    assert rows(1, "uniform") == [1000]
    assert rows(1000, "uniform") == list(range(1, 1001))
    assert rows(50, "trailing") == list(range(20, 1001, 20))
    assert rows(3, "trailing") == [333, 667, 1000]
    assert rows(1000, "trailing") == list(range(1, 1001))


def test_uniform_rounds_as_the_reference_does():
    """improved DDPM's loop, which adds up strides and rounds; ties go to the even row below 1."""
    for total, n in ((1000, 25), (1000, 10), (4000, 50), (1000, 333)):
        taken, at = [], 0.0
        for _ in range(n):
            taken.append(1 + round(at))
            at += (total - 1) / (n - 1)
        rows = fn.schedules.Cosine(T=total).steps(n).levels.time.long().tolist()[::-1][1:]
        assert rows == taken


@pytest.mark.parametrize("name", ["ve", "edm"])
@pytest.mark.parametrize("spacing", ["uniform", "ddim", "quadratic"])
def test_sampling_starts_with_the_noise_of_its_first_level(name, spacing):
    schedule = fn.schedules.build(name)
    truth = fn.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.full((1, 1, 1), 0.25))
    x = fn.sample(truth.denoiser(schedule), 2000, "heun", steps=40, spacing=spacing, batch_size=2000)
    assert x.std().item() == pytest.approx(0.5, rel=0.05)


def test_network_time_is_the_references():
    assert fn.schedules.Linear(T=1000).network_time(fn.schedules.Linear(T=1000).level(1)).item() == 0
    assert fn.schedules.Linear(T=1000).network_time(fn.schedules.Linear(T=1000).level(1000)).item() == 999
    long = fn.schedules.Cosine(T=4000)
    assert long.network_time(long.level(4000)).item() == pytest.approx(999.75)


def test_respaced_chain_has_its_own_first_log_variance():
    chain = fn.schedules.Linear(T=1000).steps(10)
    t, s = list(chain.pairs())[-2]
    assert chain.first_log_var.item() == pytest.approx(math.log(step(t, s).variance.item()))
    single = fn.schedules.Linear(T=1000).steps(1)
    assert single.first_log_var.item() == pytest.approx(math.log(single.levels[0].sigma.item() ** 2))


def test_a_learned_schedule_stays_float64_on_the_cpu():
    denoiser = fn.Denoiser(torch.nn.Linear(2, 2), fn.schedules.Learned(T=5, width=3))
    denoiser.half().to("meta")
    assert denoiser.network.weight.dtype == torch.float16
    assert denoiser.network.weight.device.type == "meta"
    level = denoiser.schedule.level(3)
    assert (level.alpha.dtype, level.alpha.device.type) == (torch.float64, "cpu")


def test_a_log_snr_has_its_gradient_even_where_it_was_first_asked_for_without():
    schedule = fn.schedules.build("learned")
    t = schedule.level(torch.tensor([3.0, 500.0]))
    with torch.no_grad():
        assert not t.log_snr.requires_grad
    t.log_snr.sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in schedule.parameters())


def test_the_bound_of_a_learned_schedule_has_finite_gradients_at_every_row():
    schedule = fn.schedules.Learned(T=4, width=3)
    network = torch.nn.Linear(3, 3).double()
    denoiser = fn.Denoiser(_Told(network), schedule, "v")
    x0, eps = torch.tensor([[-1.0, 0.0039215686, 1.0]]).double().expand(4, 3), torch.randn(4, 3, dtype=torch.float64)
    loss = fn.objectives.Vlb()(denoiser, x0, schedule.level(torch.arange(1, 5)), eps)["loss"].mean()
    loss.backward()
    for name, p in schedule.named_parameters():
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


class _Told(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, time):
        return self.inner(x)


def test_schedules_that_are_none_are_refused():
    with pytest.raises(ValueError, match="same length"):
        fn.schedules.GeneralChain([1.0], [0.1, 0.2])
    with pytest.raises(ValueError, match="fall strictly"):
        fn.schedules.GeneralChain([1.0, 1.0], [0.1, 0.0])
    with pytest.raises(fn.FromNoiseError, match="T must be a whole number of at least 1, got 0"):
        fn.schedules.build({"name": "linear", "T": 0})


def test_the_straight_path_mixes_data_and_noise_to_one_whatever_the_shift():
    """sigma = m u / (1 + (m - 1) u), alpha = 1 - sigma (Esser et al. 2024, section 5.3.2), and back again."""
    for shift in (0.5, 1.0, 3.0):
        schedule = fn.schedules.Rectified(T=10, shift=shift)
        level = schedule.level(torch.arange(11.0))
        u = torch.arange(11, dtype=torch.float64) / 10
        torch.testing.assert_close(level.sigma, shift * u / (1 + (shift - 1) * u), rtol=1e-12, atol=0)
        torch.testing.assert_close(level.alpha + level.sigma, torch.ones_like(u), rtol=1e-12, atol=0)
        torch.testing.assert_close(schedule.at(level.log_snr).time, level.time, rtol=1e-9, atol=1e-9)
