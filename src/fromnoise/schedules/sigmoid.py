"""The sigmoid schedule: alpha_bar falls as a logistic curve."""

import math

import torch

from fromnoise.errors import FromNoiseError
from fromnoise.registry import register
from fromnoise.schedules.base import MOST_ROWS, Discrete
from fromnoise.system import checks


@register("sigmoid")
class Sigmoid(Discrete):
    """alpha_bar(u) = (g(1) - g(u)) / (g(1) - g(0)), g(u) = sigmoid((start + u (end - start)) / tau), u = t/T.

    beta_t = min(1 - alpha_bar(t/T) / alpha_bar((t - 1)/T), max_beta). Source: Jabri et al. 2022; Chen 2023, from which
    the defaults are taken.

    Args:
        T: number of steps.
        start, end: ends of the logistic curve, start < end.
        tau: its width; smaller values make the middle steeper.
        max_beta: upper bound to which beta is clipped, needed because alpha_bar(1) = 0, as in the cosine schedule.
    """

    def __init__(self, T: int = 1000, start: float = -3.0, end: float = 3.0, tau: float = 1.0, max_beta: float = 0.999):
        T = checks.whole("T", T, 1, MOST_ROWS)
        if T < 1 or not start < end or tau <= 0:
            raise FromNoiseError(
                f"T must be at least 1, start below end and tau positive, got {T}, {start}, {end}, {tau}"
            )
        at = [(start + t / T * (end - start)) / tau for t in range(T + 1)]
        beta = [_difference(at[t], at[t - 1]) / _difference(at[T], at[t - 1]) for t in range(1, T + 1)]
        super().__init__(*self.betas(torch.tensor(beta, dtype=torch.float64, device="cpu").clamp_max(max_beta)))


def _difference(u: float, v: float) -> float:
    """sigmoid(u) - sigmoid(v) without cancellation."""
    return math.sinh((u - v) / 2) / (2 * math.cosh(u / 2) * math.cosh(v / 2))
