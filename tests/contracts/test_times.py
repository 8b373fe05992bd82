"""What every time sampling promises."""

import math

import pytest
import torch

import fromnoise as fn

SCHEDULE = fn.schedules.Linear(T=40)
NAMES = fn.times.names()
U = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000


def observed(name):
    """A sampling that has seen losses."""
    sampling = fn.times.build(name)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        t = SCHEDULE.level(torch.arange(1, 41))
        sampling.observe(t, torch.rand(40, generator=generator) * torch.arange(1, 41), SCHEDULE)
    return sampling


@pytest.mark.parametrize("name", NAMES)
def test_levels_are_the_schedules_and_weights_positive(name):
    for sampling in (fn.times.build(name), observed(name)):
        t, weight = sampling.draw(U, SCHEDULE)
        assert t.time.shape == weight.shape == U.shape
        assert (t.sigma > 0).all()
        assert t.time.max() <= 40
        assert weight.dtype == torch.float64
        assert (weight > 0).all()


@pytest.mark.parametrize("name", [n for n in NAMES if fn.times.get(n).on_rows])
def test_the_weighted_mean_over_u_is_the_mean_over_rows(name):
    """Sedykh eq. 4.3: dividing by p_t leaves the expectation as it was. (EDM's and SD3's samplings are weightings of their own.)"""
    values = torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for sampling in (fn.times.build(name), observed(name)):
        t, weight = sampling.draw(U, SCHEDULE)
        assert (weight * values[t.time.long() - 1]).mean().item() == pytest.approx(values.mean().item(), abs=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_arranged_uniforms_are_uniform_and_do_not_depend_on_the_split(name):
    sampling, size = fn.times.build(name), 8
    u = torch.rand(500, size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    whole = torch.stack([sampling.arrange(row, range(size), size) for row in u])
    parts = torch.cat([sampling.arrange(u[0, i : i + 2], range(i, i + 2), size) for i in range(0, size, 2)])
    assert torch.equal(parts, whole[0])
    assert ((whole >= 0) & (whole < 1)).all()
    assert whole.mean().item() == pytest.approx(0.5, abs=0.02)
    assert whole.var().item() == pytest.approx(1 / 12, abs=0.004)


def test_lognormal_on_the_straight_path_is_logit_normal():
    """Esser et al. 2024, eq. 19: the share of times below t is that of a normal below logit(t), whatever the shift."""
    for shift in (1.0, 3.0):
        t, weight = fn.times.LogNormal(0.0, 1.0).draw(U, fn.schedules.Rectified(shift=shift))
        assert (weight == 1).all()
        for share in (0.05, 0.3, 0.5, 0.8, 0.95):
            expected = torch.special.ndtr(torch.logit(torch.tensor(share, dtype=torch.float64))).item()
            assert (t.sigma < share).double().mean().item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("scale", [-1.0, -0.4, 0.0, 0.81, 1.29, 2 / (math.pi - 2)])
def test_mode_is_sd3s(scale):
    """Esser et al. 2024, eq. 20: t = f(u), so that the share of times below t is 1 - f^-1(t), found here by bisection."""
    times, straight = fn.times.Mode(scale), fn.schedules.Rectified(T=100_000)

    def f(u):
        return 1 - u - scale * (math.cos(math.pi / 2 * u) ** 2 - 1 + u)

    t, weight = times.draw(U, straight)
    assert (weight == 1).all()
    assert (t.sigma.diff() <= 0).all()  # it falls with u
    for share in (0.02, 0.2, 0.5, 0.7, 0.97):
        low, high = 0.0, 1.0
        for _ in range(60):
            low, high = ((low + high) / 2, high) if f((low + high) / 2) > share else (low, (low + high) / 2)
        assert (t.sigma < share).double().mean().item() == pytest.approx(1 - low, abs=1e-4)
    # the same shares of noise under a schedule that keeps the variance
    cosine, kept = fn.schedules.Cosine(T=1000), (t.sigma > 0.1) & (t.sigma < 0.9)
    other = times.draw(U[kept], cosine)[0]
    torch.testing.assert_close(other.sigma / (other.alpha + other.sigma), t.sigma[kept], rtol=1e-9, atol=0)


def test_mode_without_scale_is_uniform_on_the_straight_path():
    t, _ = fn.times.Mode(0.0).draw(U, fn.schedules.Rectified(T=100_000))
    torch.testing.assert_close(t.sigma, (1 - U).clamp_min(1e-5), rtol=0, atol=1e-12)


def test_mode_with_the_default_looks_at_the_middle_most():
    t, _ = fn.times.Mode().draw(U, fn.schedules.Rectified())
    counts = torch.histc(t.sigma, 5, 0, 1)
    assert counts.argmax() == 2
    assert counts.min() > 0.05 * len(U)  # and the ends are not left out


def test_stratified_batches_reach_every_part_of_the_schedule():
    """One example in each part: the mean of a batch varies by what is inside the parts only."""
    u = torch.rand(500, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    spread = torch.stack([fn.times.Stratified().arrange(row, range(8), 8) for row in u])
    assert torch.equal((spread * 8).floor(), torch.arange(8.0, dtype=torch.float64).expand(500, 8))
    assert spread.mean(1).var() < 0.05 * u.mean(1).var()


@pytest.mark.parametrize("name", NAMES)
def test_the_state_is_all_that_the_next_draw_depends_on(name):
    sampling, again = observed(name), fn.times.build(name)
    again.load(sampling.state())
    for a, b in zip(sampling.draw(U, SCHEDULE), again.draw(U, SCHEDULE), strict=True):
        assert torch.equal(getattr(a, "time", a), getattr(b, "time", b))


def test_importance_is_the_references():
    """Uniform until every row has `history` losses; then sqrt of their mean square, mixed with 0.001 of uniform."""
    sampling = fn.times.Importance(history=3, uniform=0.001)
    rows = SCHEDULE.level(torch.arange(1, 41))
    losses = torch.rand(5, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 0.1
    for i in range(2):
        sampling.observe(rows, losses[i], SCHEDULE)
        assert torch.equal(sampling.probabilities(40), torch.full((40,), 1 / 40, dtype=torch.float64))
    for i in range(2, 5):
        sampling.observe(rows, losses[i], SCHEDULE)
    root = losses[2:].square().mean(0).sqrt()
    expected = 0.999 * root / root.sum() + 0.001 / 40
    torch.testing.assert_close(sampling.probabilities(40), expected)
    drawn = torch.bincount(sampling.draw(U, SCHEDULE)[0].time.long() - 1, minlength=40).double() / len(U)
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-4)


def test_importance_lowers_the_variance_of_a_loss_that_varies_over_t():
    sampling = fn.times.Importance(history=1)
    loss = torch.logspace(2, -3, 40, dtype=torch.float64)
    sampling.observe(SCHEDULE.level(torch.arange(1, 41)), loss, SCHEDULE)
    t, weight = sampling.draw(U, SCHEDULE)
    assert (weight * loss[t.time.long() - 1]).std() < 0.1 * loss.std()


def test_lognormal_is_edms():
    edm = fn.schedules.EDM()
    t, _ = fn.times.LogNormal().draw(U, edm)
    log_sigma = torch.log(t.sigma)
    assert log_sigma.mean().item() == pytest.approx(-1.2, abs=2e-3)
    assert log_sigma.std().item() == pytest.approx(1.2, abs=2e-3)


def test_wrong_options_are_one_line():
    for spec in (
        {"name": "importance", "history": 0},
        {"name": "importance", "uniform": 2},
        {"name": "lognormal", "std": 0},
        {"name": "mode", "scale": 1.76},
        {"name": "mode", "scale": -1.01},
    ):
        with pytest.raises(fn.FromNoiseError, match="time sampling .*must be|time sampling .*must lie"):
            fn.times.build(spec)
