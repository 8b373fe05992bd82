"""Mean flow: its identity, the minimum of its loss, and the map of its steps."""

import torch
from torch import Tensor, nn

from fromnoise import distill
from fromnoise.denoise import Cond, Denoiser
from fromnoise.distill.mean_flow import place, slope, velocity
from fromnoise.gaussian import Level, like
from fromnoise.parameterizations import students
from fromnoise.parameterizations.flow import Flow
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.samplers.base import walk
from fromnoise.samplers.mean_flow import MeanFlow as MeanFlowSampler
from fromnoise.schedules.base import Schedule
from fromnoise.verify._check import Sides, check
from fromnoise.verify._linear import SCHEDULES, M, S, each, gaussian, gradient, some, states, variance


class _MeanVelocity(Denoiser):
    """u(y, s, t) = (y_t - y_s) / (tau_t - tau_s) on the exact path, or its limit v; `shift` changes its slope in y."""

    state_dtype = torch.float64

    def __init__(self, schedule: Schedule, shift: Tensor | None = None):
        super().__init__(nn.Identity(), schedule, "flow", shape=(1,))
        self.shift = torch.zeros((), dtype=torch.float64) if shift is None else shift
        self.student = students.build("mean-flow")

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        span = cond["span"][:, None] if cond else torch.zeros(len(x_t), 1, dtype=torch.float64)
        tau = like(place(t), x_t)
        y, here, there = x_t / like(t.alpha + t.sigma, x_t) - (1 - tau) * M, _straight(tau), _straight(tau - span)
        # (sqrt(here) - sqrt(there)) / span without a difference, so that the limit span -> 0 is v itself
        share = -((2 * tau - span) * (1 + S * S) - 2 * S * S) / (torch.sqrt(here) + torch.sqrt(there))
        return Prediction(x_t, t, -M - y / torch.sqrt(here) * (share - self.shift), Flow(), self.schedule)


def _straight(tau: Tensor) -> Tensor:
    """The variance of y at tau."""
    return ((1 - tau) * S) ** 2 + tau**2


@check("Geng et al. 2025 (arXiv 2505.13447), eq. 6; math: few steps", 1e-6)
def the_mean_flow_identity() -> Sides:
    """u = v - (tau_t - tau_s) du/dtau, with the derivative that training uses, on five schedules"""
    theory, practice = [], []
    for schedule in SCHEDULES:
        t = some(schedule)
        x, v = states(t), velocity(gaussian().denoiser(schedule)(states(t), t))
        for share in (1.0, 0.4, 0.0):
            given = {"span": share * place(t)}
            model = _MeanVelocity(schedule)
            theory.append(velocity(model(x, t, given)))
            practice.append(v - given["span"][:, None] * slope(model, x, t, v, given))
    return torch.stack(theory), torch.stack(practice)


@check("Geng et al. 2025 (arXiv 2505.13447), eq. 10; math: few steps", 1e-6)
def mean_flow_training_ends_at_the_mean_velocity() -> Sides:
    """the gradient of the squared loss is zero at the exact field, for three spans, on five schedules"""
    way, found = distill.MeanFlow(power=0.0), []
    for schedule in SCHEDULES:
        for t in each(some(schedule)):
            for u in ([0.0, 0.0], [0.6, 0.0], [0.6, 0.99]):
                found.append(gradient(way, lambda shift: _MeanVelocity(schedule, shift), t, u))  # noqa: B023
    return torch.zeros(len(found)), torch.stack(found)


@check("Geng et al. 2025 (arXiv 2505.13447), eq. 12; math: few steps", 1e-10)
def mean_flow_steps_are_the_odes_map() -> Sides:
    """one step and three steps both give x_s = alpha_s m + sqrt(var_s / var_t) (x_t - alpha_t m), on five schedules"""
    theory, practice = [], []
    for schedule in SCHEDULES:
        model = _MeanVelocity(schedule)
        for steps in (1, 3):
            chain = schedule.steps(steps)
            x = states(chain[0].expand(5))
            theory.append(M + S / torch.sqrt(variance(chain[0])) * (x - chain[0].alpha * M))
            practice.append(walk(model, x, chain, MeanFlowSampler(), lambda x=x: x))
    return torch.stack(theory), torch.stack(practice)
