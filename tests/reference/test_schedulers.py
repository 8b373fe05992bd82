"""diffusers' schedulers, step for step, given the same network and noise; their tables are float32."""

import itertools
import sys

import pytest
import torch
from conftest import plane_mixture

import fromnoise as fn

diffusers = pytest.importorskip("diffusers", reason="the reference implementation is not installed")

STEPS = 12
COMMON = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "timestep_spacing": "leading", "steps_offset": 0}  # fmt: skip
SCHEDULE = fn.schedules.Linear()


def noises():
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(6, 2, generator=generator, dtype=torch.float64) for _ in range(STEPS + 1)]


def ours(sampler, times):
    """States after every step from the same start, on those rows and the clean one."""
    denoiser, drawn = plane_mixture().denoiser(SCHEDULE), noises()
    x, rest = drawn[0], iter(drawn[1:])
    state, states = sampler.init(x), []
    levels = [SCHEDULE.level(t) for t in (*times, 0.0)]
    for t, s in itertools.pairwise(levels):
        z = next(rest)
        x, state = sampler.step(denoiser, x, t, s, state, lambda z=z: z, None)
        states.append(x)
    return torch.stack(states)


def theirs(scheduler, monkeypatch):
    denoiser, drawn = plane_mixture().denoiser(SCHEDULE), noises()
    scheduler.set_timesteps(STEPS)
    x, rest, states = drawn[0], iter(drawn[1:]), []
    monkeypatch.setattr(sys.modules[type(scheduler).__module__], "randn_tensor", lambda *a, **k: next(rest).to(k.get("dtype") or torch.float64), raising=False)  # fmt: skip
    for t in scheduler.timesteps:
        eps = denoiser(x.double(), SCHEDULE.level(float(t) + 1)).eps
        x = scheduler.step(eps, t, x, **getattr(scheduler, "extra", {})).prev_sample
        states.append(x.double())
    return torch.stack(states), [float(t) + 1 for t in scheduler.timesteps]


def ddim(eta):
    made = diffusers.DDIMScheduler(**COMMON, clip_sample=False, set_alpha_to_one=True)
    made.extra = {"eta": eta}
    return made


CASES = {
    "ancestral small": (lambda: diffusers.DDPMScheduler(**COMMON, clip_sample=False, variance_type="fixed_small"), fn.samplers.Ancestral("fixed_small")),
    "ddim 0": (lambda: ddim(0.0), fn.samplers.DDIM(0.0)),
    "ddim 0.5": (lambda: ddim(0.5), fn.samplers.DDIM(0.5)),
    "ddim 1": (lambda: ddim(1.0), fn.samplers.DDIM(1.0)),
    "dpm-solver": (lambda: diffusers.DPMSolverMultistepScheduler(**COMMON, algorithm_type="dpmsolver++", solver_order=2, lower_order_final=False, final_sigmas_type="zero"), fn.samplers.DPMSolver()),
    "dpm-solver-sde": (lambda: diffusers.DPMSolverMultistepScheduler(**COMMON, algorithm_type="sde-dpmsolver++", solver_order=2, lower_order_final=False, final_sigmas_type="zero"), fn.samplers.DPMSolverSDE()),
    "unipc": (lambda: diffusers.UniPCMultistepScheduler(**COMMON, solver_order=2, solver_type="bh2", lower_order_final=True, final_sigmas_type="zero"), fn.samplers.UniPC()),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_step_is_the_same(name, monkeypatch):
    make, sampler = CASES[name]
    reference, times = theirs(make(), monkeypatch)
    assert len(times) == STEPS
    torch.testing.assert_close(ours(sampler, times), reference, rtol=1e-5, atol=1e-5)
    assert reference.std() > 0.3
