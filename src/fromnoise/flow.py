"""The probability-flow ODE between any two levels of a schedule, in either direction.

In the angle phi = atan(sigma / alpha) and the state u = x / sqrt(alpha^2 + sigma^2) it reads

    du / dphi = cos(phi) eps(x, t) - sin(phi) x0hat(x, t)

for VP, sub-VP and VE alike: the speed of the schedule drops out, and all terms stay bounded at both ends.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fromnoise.denoise import Denoiser, Given
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, like
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.parameterizations.students.base import insist_on_denoiser
from fromnoise.system import checks


def angle(level: Level) -> Tensor:
    """atan(sigma / alpha): 0 for data, pi / 2 for noise."""
    return torch.atan2(level.sigma, level.alpha)


def scale(level: Level) -> Tensor:
    """sqrt(alpha^2 + sigma^2): 1 for a variance-preserving schedule."""
    return torch.hypot(level.sigma, level.alpha)


def velocity(p: Prediction, phi: Tensor) -> Tensor:
    """du / dphi."""
    return like(torch.cos(phi), p.x_t) * p.eps - like(torch.sin(phi), p.x_t) * p.x0


def level_at(denoiser: Denoiser, phi: Tensor, ends: tuple[Level, Level]) -> Level:
    """The level with the angle phi, clamped to the interval between the ends in case of rounding."""
    low, high = sorted((end.log_snr for end in ends), key=float)
    phi = phi.double().cpu().clamp(1e-300, torch.pi / 2)
    return denoiser.schedule.at((2 * torch.log(torch.cos(phi) / torch.sin(phi))).clamp(low, high))


def solver() -> Callable[..., Any]:
    """Return torchdiffeq's `odeint`.

    Raises:
        FromNoiseError: torchdiffeq is not installed.
    """
    try:
        from torchdiffeq import odeint
    except ImportError as error:
        raise FromNoiseError(
            f'adaptive ODE solving needs torchdiffeq ({error}): pip install "fromnoise[ode]"'
        ) from None
    return odeint


def integrate(slope: Callable[[Tensor, Any], Any], start: Any, times: Tensor, rtol: float, atol: float) -> Any:
    """States of dy/dt = slope(t, y) at `times`, y(times[0]) = start, by torchdiffeq's Dormand-Prince 5(4) method.

    Raises:
        FromNoiseError: torchdiffeq is not installed, or the slope is not a number.
    """
    odeint = solver()
    device = (start if isinstance(start, Tensor) else start[0]).device
    exact = torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    options: dict[str, Any] = {"dtype": exact}
    times = times.to(device, exact)
    if isinstance(start, Tensor):
        options["norm"] = lambda error: error.square().flatten(1).mean(1).max().sqrt()  # of the worst example
    try:
        return odeint(slope, start, times, rtol=rtol, atol=atol, method="dopri5", options=options)
    except AssertionError as error:
        if "underflow in dt" not in str(error) and "non-finite" not in str(error):
            raise  # not torchdiffeq's report that its step size has shrunk to zero
        raise FromNoiseError(
            f"the ODE solver stopped ({error}): the network's output is not a number somewhere between angles "
            f"{times[0].item():.3f} and {times[-1].item():.3f} of atan(sigma / alpha), or rtol and atol are too small"
        ) from None


@torch.no_grad()
def solve(
    denoiser: Denoiser,
    x: Tensor,
    t: Level | float,
    s: Level | float,
    cond: Given | None = None,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Tensor:
    """x_t -> x_s along the probability-flow ODE, towards less noise or more.

    With s noisier than t it encodes an image to a latent; solving from s back to t recovers the image. Source: Song et
    al. 2021, eq. 13; DDIM eq. 14.

    Args:
        denoiser: the model.
        x: state at t, [B, ...].
        t, s: scalar levels or times, neither of them clean.
        cond: conditions, each [B, ...].
        rtol, atol: relative and absolute tolerance of a step, which the worst example of the batch must meet.

    Raises:
        FromNoiseError: torchdiffeq is not installed, x does not fit the model's shape, or the model is a student whose
            output is not E[x_0 | x_t].
    """
    insist_on_denoiser(denoiser, "the probability-flow ODE")
    t, s = denoiser.level(t), denoiser.level(s)
    checks.state("x", x, denoiser.shape)
    cond = denoiser.given(cond, len(x))
    if bool(t.log_snr == s.log_snr):
        return x

    def slope(phi: Tensor, u: Tensor) -> Tensor:
        level = level_at(denoiser, phi, (t, s))
        return velocity(denoiser(like(scale(level), x) * u, level, cond), phi)

    path = integrate(slope, x / like(scale(t), x), torch.stack([angle(t), angle(s)]), rtol, atol)
    return like(scale(s), x) * path[-1]
