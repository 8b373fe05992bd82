"""Latent diffusion's schedule: the square root of beta rises linearly."""

import math

import torch

from fromnoise.registry import register
from fromnoise.schedules.base import MOST_ROWS, Discrete
from fromnoise.system import checks


@register("scaled-linear")
class ScaledLinear(Discrete):
    """beta_t = (sqrt(beta_start) + (sqrt(beta_end) - sqrt(beta_start)) (t - 1) / (T - 1))^2, t = 1..T.

    Source: latent diffusion (Rombach et al. 2022), whose code calls it "linear". The models of Sedykh 5.2 use it.

    Args:
        T: number of steps.
        beta_start, beta_end: beta_1 and beta_T, in (0, 1).
    """

    def __init__(self, T: int = 1000, beta_start: float = 0.0015, beta_end: float = 0.0195):
        T = checks.whole("T", T, 1, MOST_ROWS)
        low, high = math.sqrt(beta_start), math.sqrt(beta_end)
        root = low + torch.arange(T, dtype=torch.float64, device="cpu") * ((high - low) / max(T - 1, 1))
        super().__init__(*self.betas(root**2))
