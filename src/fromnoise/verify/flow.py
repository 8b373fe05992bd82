"""The probability-flow ODE, its density, and the orders of the samplers that follow it."""

import math

import torch

from fromnoise.flow import scale
from fromnoise.oracle import GaussianMixture
from fromnoise.samplers.ancestral import Ancestral
from fromnoise.samplers.base import Sampler
from fromnoise.samplers.ddim import DDIM
from fromnoise.samplers.dpm_solver import DPMSolver
from fromnoise.samplers.heun import Heun
from fromnoise.samplers.unipc import UniPC
from fromnoise.schedules.sub_vp import SubVP
from fromnoise.schedules.ve import VE
from fromnoise.schedules.vp import VP
from fromnoise.verify._check import Sides, check
from fromnoise.verify._truth import COSINE, cdf, followed, line, normal, plane
from fromnoise.verify.samplers import gains

SCHEDULES = (VP(), SubVP(), VE(sigma_min=0.01, sigma_max=20.0))


@check("Song et al. 2021, eq. 13; math: samplers", 1e-7)
def the_flow_keeps_quantiles() -> Sides:
    """in one dimension the flow is F_s^-1(F_t(x)): it keeps quantiles, under VP, sub-VP and VE"""
    theory, practice, x = [], [], torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)[:, None]
    for schedule in SCHEDULES:
        t, s = schedule.at(-3.0), schedule.at(5.0)
        theory.append(cdf(line(), x, t))
        practice.append(cdf(line(), followed(line().denoiser(schedule), x, t, s)[0], s))
    return torch.stack(theory), torch.stack(practice)


@check("Song et al. 2021, eq. 13; math: samplers", 1e-8)
def the_flow_of_a_gaussian() -> Sides:
    """for N(m, C) the flow is alpha_s m + C_s^(1/2) C_t^(-1/2) (x - alpha_t m), with C_t = alpha_t^2 C + sigma_t^2 I"""
    mean, cov = torch.tensor([0.4, -0.7], dtype=torch.float64), torch.tensor([[0.5, 0.3], [0.3, 0.4]]).double()
    truth = GaussianMixture(torch.ones(1), mean[None], cov[None])
    values, vectors = torch.linalg.eigh(cov)
    x = torch.tensor([[0.2, 1.1], [-1.3, 0.4], [2.0, -0.5]], dtype=torch.float64)
    theory, practice = [], []
    for schedule in SCHEDULES:
        for t, s in ((schedule.at(-3.0), schedule.at(5.0)), (schedule.at(5.0), schedule.at(-3.0))):
            ratio = ((s.alpha**2 * values + s.sigma**2) / (t.alpha**2 * values + t.sigma**2)).sqrt()
            theory.append(s.alpha * mean + (x - t.alpha * mean) @ (vectors * ratio @ vectors.T))
            practice.append(followed(truth.denoiser(schedule), x, t, s)[0])
    return torch.stack(theory), torch.stack(practice)


@check("Song et al. 2021, eq. 39; Sedykh fig 4.1; math: samplers", 1e-7)
def the_flows_density() -> Sides:
    """log q(x_t) = log q(x_s) + int div velocity dphi + D log(scale_s/scale_t) along the flow, in the plane"""
    truth, theory, practice = plane(), [], []
    x = torch.tensor([[-0.8, 0.6], [0.5, 0.5], [0.3, -1.0]], dtype=torch.float64)
    for schedule in SCHEDULES:
        t, s = schedule.at(4.0), schedule.at(-4.0)
        end, volume = followed(truth.denoiser(schedule), x, t, s, divergence=True)
        theory.append(truth.log_prob(x, t))
        practice.append(truth.log_prob(end, s) + volume + 2 * torch.log(scale(s) / scale(t)))
    return torch.stack(theory), torch.stack(practice)


def _quantile_error(sampler: Sampler, n: int) -> float:
    """The mean |F_end - F_start| after n steps from log-SNR -7 to 3."""
    levels = COSINE.at(torch.linspace(-7.0, 3.0, n + 1, dtype=torch.float64))
    start = torch.linspace(-2.0, 2.0, 41, dtype=torch.float64)[:, None]
    x, state, denoiser = start, sampler.init(start), line().denoiser(COSINE)
    for i in range(n):
        x, state = sampler.step(denoiser, x, levels[i], levels[i + 1], state, lambda: start, None)
    return (cdf(line(), x, levels[-1]) - cdf(line(), start, levels[0])).abs().mean().item()


@check("math: samplers; Karras et al. 2022; Lu et al. 2022; Zhao et al. 2023", 0.1)
def orders_of_the_flows_samplers() -> Sides:
    """DDIM has order 1, Heun and DPM-Solver++(2M) 2, UniPC 3: from errors of 128 and 256 steps, even in log-SNR"""
    every = (DDIM(), Heun(), DPMSolver(), UniPC())
    found = [math.log2(_quantile_error(sampler, 128) / _quantile_error(sampler, 256)) for sampler in every]
    return torch.tensor([1.0, 2.0, 2.0, 3.0]), torch.tensor(found)


def _deviation_error(variance: str, n: int) -> float:
    """|std - exact std| after n ancestral steps on N(0, 0.25), computed exactly since every step is linear."""
    levels, data = COSINE.at(torch.linspace(-7.0, 3.0, n + 1, dtype=torch.float64)), 0.25
    var = levels[0].alpha ** 2 * data + levels[0].sigma ** 2
    for i in range(n):
        gain, spread = gains(Ancestral(variance), normal(data).denoiser(COSINE), levels[i], levels[i + 1])
        var = gain**2 * var + spread**2
    return (var.sqrt() - (levels[-1].alpha ** 2 * data + levels[-1].sigma ** 2).sqrt()).abs().item()


@check("math: samplers; Sedykh Algorithm 2", 0.1)
def order_of_the_ancestral_sampler() -> Sides:
    """ancestral sampling has order 1 in distribution with either variance: from 128 and 256 steps on N(0, 0.25)"""
    found = [math.log2(_deviation_error(v, 128) / _deviation_error(v, 256)) for v in ("fixed_small", "fixed_large")]
    return torch.ones(2), torch.tensor(found)
