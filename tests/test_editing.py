"""Editing, on distributions whose answers are known."""

import math

import pytest
import torch
from conftest import Counting, plane_mixture

import fromnoise as fn
from fromnoise import editing

SCHEDULE = fn.schedules.Cosine()


def gaussian(mean, cov):
    return fn.oracle.GaussianMixture(torch.ones(1), torch.tensor([mean]), torch.tensor([cov]))


@pytest.mark.parametrize("schedule", [SCHEDULE, fn.schedules.VE(sigma_min=0.001, sigma_max=50.0)], ids=["vp", "ve"])
def test_decode_is_the_inverse_of_encode(schedule):
    pytest.importorskip("torchdiffeq", reason="the ode extra is not installed")
    truth = plane_mixture()
    x = truth.sample(5, torch.Generator().manual_seed(0)).double()
    latent = editing.encode(truth.denoiser(schedule), x, rtol=1e-8, atol=1e-8)
    back = editing.decode(truth.denoiser(schedule), latent, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(back, x, rtol=0, atol=2e-3)  # the cleanest row's noise, which nothing decodes
    spread = schedule.chain[0].sigma
    assert 0.3 < latent.std() / spread < 3


def test_the_latent_of_a_gaussian_is_its_standard_form():
    pytest.importorskip("torchdiffeq", reason="the ode extra is not installed")
    truth = gaussian([0.5, -0.2], [[0.4, 0.1], [0.1, 0.2]])
    x = torch.tensor([[0.1, 0.3], [1.0, -0.7]], dtype=torch.float64)
    latent = editing.encode(truth.denoiser(SCHEDULE), x, rtol=1e-9, atol=1e-9)
    values, vectors = torch.linalg.eigh(truth.covariances[0].double())
    root = (vectors / values.sqrt()) @ vectors.T
    torch.testing.assert_close(latent, (x - truth.means[0].double()) @ root, rtol=0, atol=5e-3)


def test_the_arc_keeps_lengths_and_meets_its_ends():
    a, b = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    between = editing.slerp(a, b, torch.tensor([0.0, 0.25, 0.5, 1.0]))
    torch.testing.assert_close(between[0], a)
    torch.testing.assert_close(between[3], b)
    c = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0)
    w = math.acos(c)
    expected = (math.sin(0.75 * w) * a + math.sin(0.25 * w) * b) / math.sin(w)
    torch.testing.assert_close(between[1], expected)
    assert between[2].norm() == pytest.approx((a.norm() + b.norm()).item() / 2, rel=0.02)
    torch.testing.assert_close(editing.slerp(a, a, torch.tensor([0.3]))[0], a, rtol=0, atol=1e-6)  # no angle


def test_an_interpolation_starts_and_ends_with_the_images():
    pytest.importorskip("torchdiffeq", reason="the ode extra is not installed")
    truth = plane_mixture()
    a, b = truth.sample(2, torch.Generator().manual_seed(4)).double()
    path = editing.interpolate(truth.denoiser(SCHEDULE), a, b, 7)
    torch.testing.assert_close(path[[0, -1]], torch.stack([a, b]), rtol=0, atol=5e-3)
    assert (truth.log_prob(path, SCHEDULE.level(1)) > -6).all()  # all of them are likely
    with pytest.raises(fn.FromNoiseError, match="at least 2"):
        editing.interpolate(truth.denoiser(SCHEDULE), a, b, 1)


def test_images_between_two_classes_are_told_the_nearer_ones():
    pytest.importorskip("torchdiffeq", reason="the ode extra is not installed")
    seen = []

    class Conditioned(fn.guidance.Wrapper):
        def forward(self, x_t, t, cond=None):
            seen.append(cond["label"].tolist())
            return self.inner(x_t, t)

    truth = plane_mixture()
    a, b = truth.sample(2, torch.Generator().manual_seed(4)).double()
    editing.interpolate(Conditioned(truth.denoiser(SCHEDULE)), a, b, 5, {"label": torch.tensor([3, 7])})
    assert seen[0] == [3, 7]
    assert seen[-1] == [3, 3, 3, 7, 7]


def test_image_to_image_keeps_what_the_noise_spares():
    """A strong edit draws from the whole distribution, a weak one stays at the mode that it was given."""
    truth = fn.oracle.GaussianMixture(
        torch.tensor([0.5, 0.5]), torch.tensor([[-1.0], [1.0]]), torch.full((2, 1, 1), 0.01)
    )
    x0 = torch.full((400, 1), -1.0, dtype=torch.float64)
    moved = {s: editing.image_to_image(truth.denoiser(SCHEDULE), x0, s, steps=40) for s in (0.1, 1.0)}
    assert (moved[0.1] < 0).all()
    assert (moved[1.0] < 0).double().mean().item() == pytest.approx(0.5, abs=0.1)
    assert moved[0.1].std().item() == pytest.approx(0.1, abs=0.05)  # drawn anew within the mode
    again = editing.image_to_image(truth.denoiser(SCHEDULE), x0[:3], 1.0, steps=40)
    torch.testing.assert_close(again, moved[1.0][:3])  # the noise of an image is its own
    with pytest.raises(fn.FromNoiseError, match=r"strength 0\.3 of 3 steps is less than one step: give at least 4"):
        editing.image_to_image(truth.denoiser(SCHEDULE), x0, 0.3, steps=3)
    for strength in (0.0, 1.1):
        with pytest.raises(fn.FromNoiseError, match=r"strength must lie in \(0, 1\]"):
            editing.image_to_image(truth.denoiser(SCHEDULE), x0, strength)


@pytest.mark.parametrize("inner", ["ancestral", "ddim", "dpm-solver"])
def test_inpainting_draws_from_the_conditional_distribution(inner):
    """x_1 known, x_2 drawn: the Gaussian's own conditional mean and variance, which one pass alone misses."""
    truth = gaussian([0.0, 0.0], [[1.0, 0.9], [0.9, 1.0]])
    x0, known = torch.tensor([1.2, 0.0]), torch.tensor([1.0, 0.0])
    n = 500  # the mean is then known within 0.02, the deviation within 0.014: a fifth and a ninth of what is allowed
    drawn = {
        repeats: fn.sample(
            truth.denoiser(SCHEDULE), (n, 2), editing.Inpaint(x0, known, fn.samplers.build(inner), repeats),
            steps=50, spacing="uniform", batch_size=n,
        )
        for repeats in (1, 20)
    }  # fmt: skip
    for x in drawn.values():
        torch.testing.assert_close(x[:, 0], torch.full((n,), 1.2, dtype=torch.float64), rtol=0, atol=1e-6)
    mean, std = drawn[20][:, 1].mean().item(), drawn[20][:, 1].std().item()
    assert mean == pytest.approx(0.9 * 1.2, abs=0.1)
    assert std == pytest.approx(math.sqrt(1 - 0.81), abs=0.12)
    assert abs(drawn[1][:, 1].mean().item() - 1.08) > abs(mean - 1.08)


def test_network_calls_of_inpainting_are_as_declared():
    truth = Counting(plane_mixture().denoiser(SCHEDULE))
    for inner in (fn.samplers.Heun(), fn.samplers.Ancestral()):
        sampler = editing.Inpaint(torch.zeros(2), torch.ones(2), inner, 3)
        truth.sizes.clear()
        fn.sample(truth, (1, 2), sampler, steps=6)
        assert len(truth.sizes) == sampler.nfe(6)
    with pytest.raises(fn.FromNoiseError, match="at least 1 repeat"):
        editing.Inpaint(torch.zeros(2), torch.ones(2), fn.samplers.Ancestral(), 0)


def test_upscaling_keeps_what_the_small_image_says():
    class Grey(torch.nn.Module):
        def forward(self, x, time):
            return 0.3 * x + 0.1 * x.roll(1, -1)

    denoiser = fn.Denoiser(Grey(), SCHEDULE, "x0", shape=(3, 8, 12))
    small = torch.rand(3, 2, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    drawn = fn.sample(editing.Upscale(denoiser, small), 4, "ancestral", steps=10)
    means = torch.nn.functional.avg_pool2d(drawn, 4)
    torch.testing.assert_close(means, small.expand(4, -1, -1, -1), rtol=0, atol=1e-5)
    assert (drawn[0] - drawn[1]).abs().max() > 1e-3
    for shape in ((3, 3, 3), (1, 2, 3), (3, 16, 24)):
        with pytest.raises(fn.FromNoiseError, match="no whole multiple"):
            editing.Upscale(denoiser, torch.zeros(shape))


def test_editing_runs_in_evaluation_mode_on_chains_of_any_length():
    pytest.importorskip("torchdiffeq", reason="the ode extra is not installed")

    class Restless(torch.nn.Module):
        def forward(self, x, time):
            assert not self.training
            return 0.1 * x

    short = fn.Denoiser(Restless(), fn.schedules.Linear(T=8, beta_end=0.5), "x0", shape=(1, 4, 4)).train()
    x = torch.rand(3, 1, 4, 4)
    assert torch.isfinite(editing.interpolate(short, x[0], x[1], 3)).all()
    whole = editing.image_to_image(short, x)
    torch.testing.assert_close(whole, editing.image_to_image(short, x, batch_size=2))
    assert short.training
    with pytest.raises(fn.FromNoiseError, match="one shape"):
        editing.interpolate(short, x[0], torch.zeros(1, 8, 8))
    with pytest.raises(fn.FromNoiseError, match="no shape of its own"):
        editing.Upscale(fn.Denoiser(Restless(), short.schedule, "x0"), x[0])
