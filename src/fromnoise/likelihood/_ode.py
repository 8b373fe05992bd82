"""The density of a model by its probability-flow ODE: exact up to the solver's error, unlike the bound."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fromnoise.denoise import Denoiser, Given
from fromnoise.flow import angle, integrate, level_at, scale, velocity
from fromnoise.gaussian import Level, like
from fromnoise.parameterizations.students.base import insist_on_denoiser
from fromnoise.system import checks, rng


@dataclass(frozen=True)
class FlowLikelihood:
    """log p(x) of each example, and its parts.

    Attributes:
        log_prob: log-density at the level where the ODE starts, in nats, [B]; for dequantised data that of x_t / alpha.
        prior: log-density of the latent, [B].
        volume: contribution of the flow's change of volume, [B].
        latent: x_T, [B, ...].
        dimensions: number of dimensions of an example.
        calls: number of network calls.
        noise: -log q(u | x) of the noise that dequantised the data, [B]; None for uniform noise.
    """

    log_prob: Tensor
    prior: Tensor
    volume: Tensor
    latent: Tensor
    dimensions: int
    calls: int
    noise: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """-(log p(x + u) - log q(u | x)) in bits per dimension: a bound for 8-bit data x / 127.5 - 1, [B].

        Uniform u in bins of width 1/127.5 has log q = D log 127.5. Source: Ho et al. 2019 (Flow++), eq. 12.
        """
        uniform = torch.full_like(self.log_prob, -self.dimensions * math.log(127.5))
        filled = uniform if self.noise is None else self.noise
        return -(self.log_prob + filled) / (self.dimensions * math.log(2))


def flow_summary(flows: Sequence[FlowLikelihood]) -> dict[str, Any]:
    """{bits_per_dim, standard_error, n, calls}: means over all examples; the counterpart of `summary` for bounds."""
    bits = torch.cat([flow.total for flow in flows])
    n = len(bits)
    calls = sum(flow.calls * len(flow.total) for flow in flows) / n
    error = (bits.std() / n**0.5).item() if n > 1 else None
    return {"bits_per_dim": bits.mean().item(), "standard_error": error, "n": n, "calls": calls}


def ode(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    start: Level | float | None = None,
    cond: Given | None = None,
    divergence: Literal["hutchinson", "exact"] = "hutchinson",
    probes: int = 1,
    dequantise: Literal["none", "uniform", "variational"] = "none",
    seed: int = 0,
    first: int = 0,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> FlowLikelihood:
    """log p(x) = log p(x_T) + int tr(d velocity / d u) dphi + D log(scale_T / scale), along du/dphi = velocity.

    The flow is that of `fromnoise.flow`. The trace is either the unbiased Hutchinson estimate e' J e, with random signs
    e that stay the same throughout a solve, or the exact sum over all D coordinates. Source: Song et al. 2021, section
    4.3 and appendix D.2; the row "cont flow" of Sedykh fig 4.1.

    Args:
        denoiser: the model; it is in evaluation mode during the call.
        x0: data, [B, ...].
        start: the level at which the ODE starts from the data. Default: the schedule's cleanest row, because the
            network was trained on no cleaner level.
        cond: conditions, each [B, ...], or a number for all.
        divergence: "hutchinson" for many dimensions, "exact" for few.
        probes: number of random vectors in Hutchinson's estimate.
        dequantise: add noise u that fills the bins of 8-bit data, so that `total` is a bound for discrete data, and
            start from x_t / alpha = x0 + u. "uniform": u is uniform in the bin. "variational": q(u | x) is a normal
            distribution with the level's own standard deviation sigma / alpha, truncated to the bin. If that is well
            below half a bin, u is the noise that the network was trained on, and the bound is tighter (Zheng et al.
            2023, section 4.1); if it is above, u is nearly uniform. "none": start from x0 unchanged.
        seed: seed of the noise.
        first: number of the first example, on which its noise depends.
        rtol, atol: relative and absolute tolerance of the solver, for the whole batch.

    Raises:
        FromNoiseError: torchdiffeq is not installed, x0 does not fit the model's shape, or the model is a student whose
            output is not E[x_0 | x_t].
    """
    checks.instance("denoiser", denoiser, Denoiser)
    insist_on_denoiser(denoiser, "the likelihood")
    checks.state("x0", x0, denoiser.shape)
    seed, first = checks.whole("seed", seed), checks.whole("first", first, 0)
    begin = denoiser.schedule.chain[-2] if start is None else denoiser.level(start)
    end = denoiser.schedule.chain[0]
    shape, n = tuple(x0.shape[1:]), len(x0)
    size = math.prod(shape)
    indices = range(first, first + n)
    x, filled, stretch = x0.to(denoiser.device, denoiser.state_dtype), None, 0.0
    if dequantise != "none":
        even = [rng.uniform(seed, indices, call, rng.Stream.LIKELIHOOD) for call in range(size)]
        u, filled = bin_noise(torch.stack(even, 1), begin if dequantise == "variational" else None)
        x = like(begin.alpha, x) * (x + u.view(n, *shape).to(x))
        stretch = size * torch.log(begin.alpha)
    drawn = (rng.normal(seed, indices, size + k, shape, rng.Stream.LIKELIHOOD) for k in range(probes))
    signs = [e.sign().to(x) for e in drawn]
    calls, placed = 0, denoiser.placed(denoiser.given(cond, n))

    def slope(phi: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        level = level_at(denoiser, phi, (begin, end))
        with torch.enable_grad():
            u = state[0].detach().requires_grad_()
            speed = velocity(denoiser(like(scale(level), u) * u, level, placed), phi)
            trace = _exact(speed, u) if divergence == "exact" else _estimate(speed, u, signs)
        return speed.detach(), trace.detach()

    with denoiser.evaluating(), torch.no_grad():
        state = (x / like(scale(begin), x), torch.zeros(n, dtype=x.dtype, device=x.device))
        path = integrate(slope, state, torch.stack([angle(begin), angle(end)]), rtol, atol)
    latent = like(scale(end), x) * path[0][-1]
    prior = denoiser.schedule.prior(end).log_prob(latent.double().cpu()).flatten(1).sum(1)
    volume = path[1][-1].double().cpu() + size * torch.log(scale(end) / scale(begin))
    volume = volume + stretch
    return FlowLikelihood(prior + volume, prior, volume, latent, size, calls, filled)


def bin_noise(even: Tensor, level: Level | None) -> tuple[Tensor, Tensor]:
    """(u, -log q(u) [B]) from uniform numbers [B, D]: dequantisation noise for 8-bit values, u in (-1/255, 1/255).

    u is uniform or, if a level is given, a truncated normal with the level's standard deviation sigma / alpha.
    """
    half = torch.tensor(0.5 / 127.5, dtype=torch.float64)
    if level is None:
        return (2 * even.double() - 1) * half, torch.full(even.shape[:1], even.shape[1]).double() * torch.log(2 * half)
    spread = level.sigma / level.alpha
    low = torch.special.ndtr(-half / spread)
    inside = 1 - 2 * low
    z = torch.special.ndtri(low + inside * even.double().clamp(1e-12, 1 - 1e-12))
    density = -(z**2) / 2 - torch.log(spread * math.sqrt(2 * math.pi) * inside)
    return spread * z, -density.sum(1)


def _exact(speed: Tensor, u: Tensor) -> Tensor:
    """tr(d speed / d u) of each example, with one backward pass per coordinate."""
    flat = speed.flatten(1)
    total = torch.zeros(len(u), dtype=u.dtype, device=u.device)
    for i in range(flat.shape[1]):
        (slope,) = torch.autograd.grad(flat[:, i].sum(), u, retain_graph=True)
        total = total + slope.flatten(1)[:, i]
    return total


def _estimate(speed: Tensor, u: Tensor, signs: list[Tensor]) -> Tensor:
    """The mean of e' (d speed / d u) e over the probes."""
    total = torch.zeros(len(u), dtype=u.dtype, device=u.device)
    for e in signs:
        (product,) = torch.autograd.grad((speed * e).sum(), u, retain_graph=True)
        total = total + (product * e).flatten(1).sum(1)
    return total / len(signs)
