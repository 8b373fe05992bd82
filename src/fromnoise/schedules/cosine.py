"""Improved DDPM's schedule: alpha_bar falls as a squared cosine."""

import math

import torch

from fromnoise.registry import register
from fromnoise.schedules.base import MOST_ROWS, Discrete
from fromnoise.system import checks


@register("cosine")
class Cosine(Discrete):
    """f(t) = cos((t/T + s)/(1 + s) pi/2)^2, beta_t = min(1 - f(t)/f(t - 1), max_beta).

    Source: Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17; Sedykh eq. 4.4-4.6, which omits the clipping at 0.999.

    Args:
        T: number of steps.
        s: offset that keeps beta from vanishing near t = 0.
        max_beta: upper bound to which beta is clipped.
        shift: added to the log-SNR of every row; a negative shift spends more steps at high noise, where the global
            structure is decided ("simple diffusion", Hoogeboom et al. 2023).
    """

    def __init__(self, T: int = 1000, s: float = 0.008, max_beta: float = 0.999, shift: float = 0.0):
        T = checks.whole("T", T, 1, MOST_ROWS)
        angle = [(t / T + s) / (1 + s) * math.pi / 2 for t in range(T + 1)]
        beta = [_beta(angle[t], angle[t - 1]) for t in range(1, T + 1)]
        alpha, sigma = self.betas(torch.tensor(beta, dtype=torch.float64, device="cpu").clamp_max(max_beta))
        if shift:
            log_snr = 2 * (torch.log(alpha) - torch.log(sigma)) + shift
            alpha, sigma = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
        super().__init__(alpha, sigma)


def _beta(u: float, v: float) -> float:
    """1 - cos(u)^2 / cos(v)^2 = sin(u - v) sin(u + v) / cos(v)^2, without the cancellation."""
    return math.sin(u - v) * math.sin(u + v) / math.cos(v) ** 2
