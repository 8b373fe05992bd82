"""Cascades: exact on a linear-Gaussian pair, and on what is refused."""

import math

import pytest
import torch

import fromnoise as fn
from fromnoise import augmentations, rng
from fromnoise.augmentations.low_res import LowResolution
from fromnoise.compose import Stage, cascade
from fromnoise.gaussian import Level, like
from fromnoise.parameterizations.x0 import X0

SCHEDULE = fn.schedules.Cosine(T=1000)


class Base(fn.Denoiser):
    """Exact for the small image of `Pair`: N(0, S) in each of two places of a 1x1x2 image."""

    state_dtype = torch.float32

    def __init__(self, variance, schedule=SCHEDULE):
        super().__init__(torch.nn.Identity(), schedule, "x0", "fixed_small", (1, 2, 2))
        self.var = variance

    def forward(self, x_t, t, cond=None):
        gain = t.alpha * self.var / (t.alpha**2 * self.var + t.sigma**2)
        return fn.Prediction(x_t, t, like(gain, x_t) * x_t, X0(), self.schedule)


class Enlarges(fn.Denoiser):
    """Exact for x | z': all four pixels of a square have the mean m = A x and independent rest of variance r.

    z' = cos z + sin eps of z = A x ~ N(0, S); so E[A x | z'] is linear, and the rest is denoised by itself.
    """

    def __init__(self, variance, rest, augmentation={"name": "noise", "most": 1.0}):  # noqa: B006
        low = LowResolution(2, augmentations.build(augmentation))
        super().__init__(torch.nn.Identity(), SCHEDULE, "x0", "fixed_small", (1, 4, 4), low=low)
        self.var, self.rest = variance, rest

    def forward(self, x_t, t, cond=None):
        angle = cond["strength"].double() / 1000 * math.pi / 2
        c, s = angle.cos().view(-1, 1, 1, 1), angle.sin().view(-1, 1, 1, 1)
        z = cond["image"].double()[:, :, ::2, ::2]  # nearest: see `flat`
        gain = c * self.var / (c**2 * self.var + s**2)
        mean, left = gain * z, self.var - gain * c * self.var
        x = x_t.double()
        small = torch.nn.functional.avg_pool2d(x, 2)
        a, v = t.alpha, t.sigma**2
        # the mean of a square is seen with noise of a quarter of the variance
        k = a * left / (a**2 * left + v / 4)
        m = mean + k * (small - a * mean)
        detail = x - small.repeat_interleave(2, 2).repeat_interleave(2, 3)
        g = a * self.rest / (a**2 * self.rest + v)
        x0 = m.repeat_interleave(2, 2).repeat_interleave(2, 3) + g * detail
        return fn.Prediction(x_t, t, x0.to(x_t), X0(), self.schedule)


@pytest.fixture
def nearest(monkeypatch):
    """The image is enlarged by repetition, so that the exact model can read it; and not rounded."""

    def enlarged(self, z, strength):
        image = z.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3)
        return {"image": image.float(), "strength": (1000 * strength).float()}

    monkeypatch.setattr(LowResolution, "enlarged", enlarged)
    monkeypatch.setattr(cascade, "rounded", lambda x: x)


S, R = 0.25, 0.04


def stages(strength, truncated=False, base=S):
    sampler = fn.samplers.UniPC()
    return [
        Stage(Base(base), sampler, 60, "log-snr"),
        Stage(Enlarges(S, R), sampler, 60, "log-snr", strength, truncated),
    ]


def moments(x):
    small = torch.nn.functional.avg_pool2d(x, 2)
    detail = x - small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return small.var().item(), detail.square().sum((1, 2, 3)).mean().item() / 12  # 12 of 16 directions


@pytest.mark.parametrize(("strength", "truncated"), [(0.0, False), (0.3, False), (0.3, True), (0.8, True)])
def test_the_composite_is_the_data(nearest, strength, truncated):
    """math section 4: whatever the augmentation, exact stages compose to the distribution of the data."""
    x = cascade.draw(stages(strength, truncated), 4000, seed=1, batch_size=4000)
    small, detail = moments(x)
    assert small == pytest.approx(S, rel=0.05)
    assert detail == pytest.approx(R, rel=0.05)


def test_augmentation_forgives_a_wrong_base(nearest):
    """An error E of the base's variance becomes K^2 E, with K falling from 1: why augmentation helps."""
    wrong = 2 * S
    for strength in (0.0, 0.4, 0.8):
        c, s = math.cos(strength * math.pi / 2), math.sin(strength * math.pi / 2)
        gain = c * S / (c**2 * S + s**2)
        expected = S + (gain * c) ** 2 * (wrong - S)
        x = cascade.draw(stages(strength, base=wrong), 4000, seed=2, batch_size=4000)
        assert moments(x)[0] == pytest.approx(expected, rel=0.06)


def test_truncation_saves_the_steps_that_it_leaves_out():
    whole, cut = cascade.steps(stages(0.5)), cascade.steps(stages(0.5, truncated=True))
    chain = SCHEDULE.steps(60, "log-snr")
    above = int((chain.levels.log_snr < 0).sum())  # strength 0.5 is cos = sin
    assert whole == 2 * chain.steps
    assert cut == above + chain.steps


def test_a_truncated_stage_hands_on_a_state_of_the_same_level():
    """On a schedule of another scale (EDM: alpha = 1) the state is brought to the augmentation's path."""
    seen = {}

    class Spy(Enlarges):
        def forward(self, x_t, t, cond=None):
            seen["image"] = cond["image"]
            return super().forward(x_t, t, cond)

    base = Base(S, fn.schedules.EDM())
    two = [Stage(base, fn.samplers.Heun(), 40), Stage(Spy(S, R), fn.samplers.DDIM(), 2, "uniform", 0.5, True)]
    cascade.draw(two, 4000, batch_size=4000)
    z = seen["image"]
    # interpolation of independent pixels lowers the variance; corners are exact
    corner = z[:, :, 0, 0]
    assert corner.var().item() == pytest.approx(0.5 * S + 0.5, rel=0.07)


def test_stages_have_noise_of_their_own_and_samples_do_not_depend_on_the_batch():
    two = stages(0.2)
    whole = cascade.draw(two, 6, seed=3, batch_size=6)
    torch.testing.assert_close(cascade.draw(two, 6, seed=3, batch_size=4), whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(cascade.draw(two, 2, seed=3, first=4), whole[4:], rtol=0, atol=1e-5)
    first, second = (rng.normal(cascade._seed(3, i), range(1), 0, (4,)) for i in (0, 1))
    assert not torch.isclose(first, second).any()


def test_one_stage_is_the_plain_sampler():
    one = stages(0.0)[:1]
    x = fn.sample(one[0].denoiser, 3, one[0].sampler, 60, seed=5, spacing="log-snr")
    assert torch.equal(cascade.draw(one, 3, seed=5), x)


def test_mismatched_stages_are_one_line():
    base, up = stages(0.2)

    def changed(**changes):
        return [base, Stage(**{**vars(up), **changes})]

    wide = Enlarges(S, R)
    wide.shape = (1, 8, 8)
    names = Enlarges(S, R)
    names.class_names = ("a", "b")
    cases = [
        ([up], "the first stage of a cascade cannot be a super-resolution model, which needs the smaller example"),
        ([base, base], "a later stage of a cascade must be a super-resolution model"),
        (changed(denoiser=wide), "one enlarges 1x4x4, but the one before it draws 1x2x2"),
        (changed(denoiser=names), "different classes"),
        (changed(strength=1.5), "strengths from 0 to 1, got 1.5"),
        (changed(strength=0.0, truncated=True), "truncated needs an augmentation by noise"),
        (changed(denoiser=Enlarges(S, R, "blur"), truncated=True), "truncated needs an augmentation by noise"),
    ]
    for given, said in cases:
        with pytest.raises(fn.FromNoiseError, match=said):
            cascade.draw(given, 2)
    with pytest.raises(fn.FromNoiseError, match="needs the smaller example: sample its cascade"):
        fn.sample(up.denoiser, 2)


def test_a_chain_is_cut_at_a_level():
    chain = SCHEDULE.steps(10)
    times, t = chain.levels.time.tolist(), SCHEDULE.level(450)
    assert chain.until(t).levels.time.tolist() == [time for time in times if time > 450] + [450]
    assert chain.until(chain[-1]).levels.time.tolist() == times
    assert chain.until(chain[3]).levels.time.tolist() == times[:4]
    with pytest.raises(ValueError, match="starts below"):
        SCHEDULE.steps(10).until(Level(*(torch.tensor(v, dtype=torch.float64) for v in (2000.0, 1e-9, 1.0))))
