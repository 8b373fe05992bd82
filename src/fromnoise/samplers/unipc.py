"""UniPC: DPM-Solver++(2M), with each step corrected by the next network call at no extra cost."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level, like
from fromnoise.registry import register
from fromnoise.samplers.base import Noise, Sampler


@dataclass(frozen=True)
class _Before:
    """The previous step: where it started, and its predictions."""

    x: Tensor
    t: Level
    x0: Tensor
    older: tuple[Level, Tensor] | None


@register("unipc")
@dataclass(frozen=True)
class UniPC(Sampler):
    """x_s = (sigma_s / sigma_t) x_t - alpha_s (e^(-h) - 1) (x0hat_t + sum_k w_k D_k / r_k), predictor and corrector.

    h = lambda_s - lambda_t with lambda = log(alpha / sigma), and D_k = x0hat_k - x0hat_t for other levels, which lie at
    lambda_t + r_k h. The predictor uses the previous level, with w = 1/2. The corrector repeats the step once x0hat_s
    is known and uses both levels, with w from sum_k w_k r_k^(n-1) = n! phi_(n+1)(-h) / phi_1(-h). The network call at
    the predicted x_s serves the corrector and the next step, so a step costs one call. In the first step the corrector
    has w = 1/2. The step to the clean level returns x0hat_t. Source: Zhao et al. 2023 (UniPC), algorithms 7 and 8 with
    B(h) = e^h - 1 and two points.
    """

    order: ClassVar[int | None] = 3
    default_spacing: ClassVar[str] = "log-snr"

    def step(
        self, denoiser: Denoiser, x: Tensor, t: Level, s: Level, state: Any, noise: Noise, cond: Cond | None
    ) -> tuple[Tensor, Any]:
        x0 = denoiser(x, t, cond).x0
        if s.is_clean:
            return x0, None
        older = None
        if state is not None:
            x = self._corrected(state, t, x0)
            older = (state.t, state.x0)
        slope = torch.zeros_like(x0)
        if older is not None:
            slope = (older[1] - x0) / like(2 * _ratio(older[0], t, s), x0)
        return _moved(x, x0 + slope, t, s), _Before(x, t, x0, older)

    def _corrected(self, last: _Before, t: Level, x0: Tensor) -> Tensor:
        """The step from `last.t` to t, repeated now that x0hat at t is known."""
        if last.older is None:
            return _moved(last.x, (last.x0 + x0) / 2, last.t, t)
        r = _ratio(last.older[0], last.t, t)
        first, second = _weights(_width(last.t, t))
        # w_1 + w_2 = first, r w_1 + w_2 = second, for the level before (r < 0) and the one ahead (1).
        before = (first - second) / (1 - r)
        ahead = first - before
        change = like(before / r, x0) * (last.older[1] - last.x0) + like(ahead, x0) * (x0 - last.x0)
        return _moved(last.x, last.x0 + change, last.t, t)


def _width(t: Level, s: Level) -> Tensor:
    """h = lambda_s - lambda_t."""
    return (s.log_snr - t.log_snr) / 2


def _ratio(before: Level, t: Level, s: Level) -> Tensor:
    """The position of `before` on the axis where t is 0 and s is 1."""
    return (before.log_snr - t.log_snr) / (s.log_snr - t.log_snr)


def _weights(h: Tensor) -> tuple[Tensor, Tensor]:
    """n! phi_(n+1)(-h) / phi_1(-h) for n = 1, 2, phi_(n+1)(z) = (phi_n(z) - 1/n!) / z; a series for small h."""
    z = -h
    if bool(z.abs() < 1e-2):
        one = 1 + z / 2 + z**2 / 6 + z**3 / 24 + z**4 / 120
        two = 1 / 2 + z / 6 + z**2 / 24 + z**3 / 120 + z**4 / 720
        three = 1 / 6 + z / 24 + z**2 / 120 + z**3 / 720 + z**4 / 5040
    else:
        one = torch.expm1(z) / z
        two = (one - 1) / z
        three = (two - 0.5) / z
    return two / one, 2 * three / one


def _moved(x: Tensor, x0: Tensor, t: Level, s: Level) -> Tensor:
    """The exact step of the probability-flow ODE for a constant x0hat."""
    h = _width(t, s)
    return like(s.sigma / t.sigma, x) * x - like(s.alpha * torch.expm1(-h), x) * x0
