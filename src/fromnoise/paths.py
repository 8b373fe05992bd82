"""The paths of the probability-flow ODE from noise to data, and how straight they are.

In the straight coordinates tau = sigma / (alpha + sigma) and y = x / (alpha + sigma), the flow of every schedule reads

    dy / dtau = v(y, tau) = eps - x0hat,    y_0 = x_0.

With the schedule "rectified" these coordinates are x and t themselves.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fromnoise import samplers
from fromnoise.denoise import Cond, Denoiser, Given
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, like
from fromnoise.parameterizations.students.base import insist_on_denoiser
from fromnoise.samplers.base import Sampler, walk
from fromnoise.schedules.base import Chain, Schedule
from fromnoise.system import checks, rng
from fromnoise.system.hardware.memory import insist_on_memory


@dataclass(frozen=True)
class Straightness:
    """How straight a model's paths are.

    Attributes:
        straightness: S = int E|(y_1 - y_0) / tau_1 - v(y_tau, tau)|^2 dtau / D over tau in [0, tau_1], where tau_1
            belongs to the schedule's last level; 0 for straight paths (Liu et al. 2023, arXiv 2209.03003, eq. 5).
        curvature: E(length of the path of y) / E|y_1 - y_0| - 1; 0 for straight paths that do not turn back.
        taus: tau at the levels, noisiest first, [steps].
        deviation: the integrand of S at these levels, [steps].
        paths: y of a few samples at these levels and at tau = 0, [steps + 1, few, ...].
        n: number of samples.
        calls: network calls per sample; None if the sampler decides while it runs.
    """

    straightness: float
    curvature: float
    taus: Tensor
    deviation: Tensor
    paths: Tensor
    n: int
    calls: int | None


def tau(level: Level) -> Tensor:
    """sigma / (alpha + sigma): 0 for data, 1 for noise, float64."""
    return level.sigma / (level.alpha + level.sigma)


def even(schedule: Schedule, steps: int) -> Chain:
    """Levels evenly spaced in tau, from the schedule's last row to no cleaner than its first, then the clean level."""
    rows = schedule.chain
    last = tau(rows[0])
    grid = last * torch.arange(checks.whole("steps", steps, 1), 0, -1, dtype=torch.float64, device="cpu") / steps
    log_snr = 2 * torch.log((1 - grid) / grid)
    log_snr[0] = rows[0].log_snr
    kept = log_snr[(log_snr <= rows[-2].log_snr) | (torch.arange(len(grid)) == 0)]
    return Chain(schedule.at(torch.cat([kept, torch.full((1,), torch.inf, dtype=torch.float64)])))


@torch.no_grad()
def follow(
    denoiser: Denoiser,
    numbers: Sequence[int],
    chain: Chain,
    sampler: Sampler,
    seed: int = 0,
    cond: Cond | None = None,
    each: Callable[[int, Tensor], None] = lambda i, x: None,
) -> tuple[Tensor, Tensor]:
    """(eps, x_0): the initial noise of the samples with these numbers, and where a deterministic sampler takes it.

    The states are those of `samplers.sample` with the same seed; the latents of a latent model are not decoded.

    Args:
        denoiser: a model with a shape, in evaluation mode.
        numbers: the numbers of the samples.
        chain: levels of the model's schedule.
        sampler: a sampler that draws no noise of its own.
        seed: seed of the noise.
        cond: conditions, each [B, ...].
        each: called with (0, x) at the start and with (i, x) after step i.

    Raises:
        FromNoiseError: the sampler draws noise, or the model has no shape.
    """
    if denoiser.shape is None:
        raise FromNoiseError("this denoiser has no shape of its own: give fn.Denoiser(..., shape=(...))")
    name = getattr(type(sampler), "registered_name", type(sampler).__name__)

    def refuse() -> Tensor:
        raise FromNoiseError(f"sampler {name} draws noise on its way, so a sample is not a function of its initial "
                             "noise: take ddim with eta=0, heun with churn=0, unipc or ode")  # fmt: skip

    eps = rng.normal(seed, numbers, 0, denoiser.shape, dtype=denoiser.state_dtype)
    x, prior = eps.to(denoiser.device), denoiser.schedule.prior(chain[0])
    x = like(prior.mean, x) + like(torch.exp(prior.log_var / 2), x) * x
    each(0, x)
    return eps, walk(denoiser, x, chain, sampler, refuse, denoiser.placed(cond), each)


def conditions(denoiser: Denoiser, cond: Given | None, n: int) -> Cond:
    """Conditions of samples 0 to n - 1: `cond`, and by default every class in turn; each [n, ...], on the CPU."""
    given = (denoiser.default_cond(range(n)) or {}) | (denoiser.given(cond, n) or {})
    return {name: value.cpu() for name, value in given.items()}


@torch.no_grad()
def measure(
    denoiser: Denoiser,
    n: int = 256,
    sampler: Sampler | str = "heun",
    steps: int = 50,
    seed: int = 0,
    cond: Given | None = None,
    *,
    batch_size: int = 64,
    shown: int = 8,
    advance: Callable[[int], Any] = lambda n: None,
) -> Straightness:
    """Measure the straightness and curvature of a model's paths on a grid of `steps` levels evenly spaced in tau.

    For data N(m, s^2 I) on the straight path, S = s (2 - pi / 2). Source: Liu et al. 2023 (arXiv 2209.03003), eq. 5,
    which integrates along the exact paths; this function integrates along those of the sampler.

    Args:
        denoiser: the model, with a shape; for a latent model the paths are those of the latents.
        n: number of samples; they are samples 0 to n - 1 of the seed.
        sampler: a sampler without noise: an object, or a registered name.
        steps: levels of the grid; those cleaner than the schedule's first row are left out.
        seed: seed of the noise.
        cond: conditions, each [n, ...]; default: every class in turn for a class-conditional model.
        batch_size: samples that are followed at a time.
        shown: number of samples whose paths are returned.
        advance: called after each batch with the number of samples in it.

    Raises:
        FromNoiseError: the sampler draws noise, the model has no shape or is a student whose output is not
            E[x_0 | x_t], or an argument is of the wrong kind.
    """
    checks.instance("denoiser", denoiser, Denoiser, "fn.Denoiser(network, schedule)")
    insist_on_denoiser(denoiser, "the straightness of paths")
    n, batch_size = checks.whole("n", n, 1), checks.whole("batch_size", batch_size, 1)
    found = samplers.registry.resolve(sampler, Sampler)
    found.check(denoiser)
    chain, told = even(denoiser.schedule, steps), conditions(denoiser, cond, n)
    together = min(n, batch_size)
    insist_on_memory(
        4.0 * 4 * chain.steps * together * math.prod(denoiser.shape or ()), f"a batch_size of {together:,}"
    )
    taus = torch.cat([tau(level)[None] for level in chain])
    scales = [level.alpha + level.sigma for level in chain]
    squares, lengths, chords, kept = torch.zeros(chain.steps, dtype=torch.float64), 0.0, 0.0, []
    with denoiser.evaluating():
        for start in range(0, n, batch_size):
            numbers = range(start, min(start + batch_size, n))
            own = {name: value[numbers.start : numbers.stop] for name, value in told.items()}
            placed, ys, speeds = denoiser.placed(own), [], []

            def look(i: int, x: Tensor, placed: Any = placed, ys: Any = ys, speeds: Any = speeds) -> None:
                ys.append((x / like(scales[i], x)).cpu())
                if i < chain.steps:
                    p = denoiser(x, chain[i], placed)
                    speeds.append((p.eps - p.x0).cpu())

            follow(denoiser, numbers, chain, found, seed, own, look)
            y, chord = torch.stack(ys), (ys[0] - ys[-1]) / like(taus[0], ys[0])
            squares += (torch.stack(speeds) - chord).double().square().flatten(2).mean(2).sum(1)
            lengths += y.diff(dim=0).double().flatten(2).norm(dim=2).sum().item()
            chords += (ys[0] - ys[-1]).double().flatten(1).norm(dim=1).sum().item()
            kept += [y[:, : max(0, shown - start)]] if start < shown else []
            advance(len(numbers))
    deviation = squares / n
    widths = taus[:-1] - taus[1:]
    means = torch.cat([(deviation[:-1] + deviation[1:]) / 2, deviation[-1:]])  # at tau = 0 eps has no meaning
    calls = found.nfe(chain.steps)
    return Straightness(
        (means * widths).sum().item(), lengths / chords - 1 if chords else float("inf"), taus[:-1], deviation,
        torch.cat(kept, 1), n, None if calls is None else calls + chain.steps,
    )  # fmt: skip
