"""What every objective promises."""

import pytest
import torch
from conftest import plane_mixture

import fromnoise as fn

OBJECTIVES = [fn.objectives.build(name) for name in fn.objectives.names()]
every = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).registered_name)


class Shifted(fn.guidance.Wrapper):
    """The exact denoiser, x0hat moved by a constant."""

    def __init__(self, inner, shift):
        super().__init__(inner)
        self.shift = shift

    def forward(self, x_t, t, cond=None):
        p = self.inner(x_t, t, cond)
        p = p.with_x0(p.x0 + self.shift)
        p.__dict__["variance"] = torch.full_like(x_t, 0.5)
        return p


def mean_loss(objective, shift):
    truth, schedule = plane_mixture(), fn.schedules.Cosine(T=50)
    generator = torch.Generator().manual_seed(0)
    x0 = truth.sample(4000, generator)
    draws = (objective.draws,) if objective.draws > 1 else ()
    eps = torch.randn(4000, *draws, 2, dtype=torch.float64, generator=generator)
    t = schedule.draw(0.02 + 0.98 * torch.rand(4000, dtype=torch.float64, generator=generator))  # the decoder has bins
    denoiser = Shifted(truth.denoiser(schedule), shift)
    return objective(denoiser, x0, t, eps)["loss"].mean().item()


@every
def test_the_exact_denoiser_is_a_minimum(objective):
    """Moving x0hat either way raises the loss, quadratically; hybrid's mean is taught by L_simple alone."""
    base = mean_loss(objective, 0.0)
    for shift in (0.1, -0.1):
        assert mean_loss(objective, shift) > base + 1e-3


@every
def test_losses_are_per_example_and_finite(objective):
    truth, schedule = plane_mixture(), fn.schedules.Cosine(T=50)
    denoiser = Shifted(truth.denoiser(schedule), 0.0)
    x0 = torch.tensor([[0.0, 0.5], [-1.0, 1.0], [0.2, -0.7]], dtype=torch.float64)
    t = schedule.level(torch.tensor([1.0, 25.0, 50.0]))
    draws = (objective.draws,) if objective.draws > 1 else ()
    eps = torch.ones(3, *draws, 2, dtype=torch.float64)
    whole = objective(denoiser, x0, t, eps)
    assert all(v.shape == (3,) and v.isfinite().all() for v in whole.values())
    for i in range(3):
        one = objective(denoiser, x0[i : i + 1], t[i : i + 1], eps[i : i + 1])
        torch.testing.assert_close(one["loss"], whole["loss"][i : i + 1], rtol=1e-9, atol=1e-9)
