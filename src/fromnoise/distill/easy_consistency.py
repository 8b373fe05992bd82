"""Easy consistency tuning: turns a trained model into a consistency model by closing the gap between levels."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fromnoise.denoise import Denoiser
from fromnoise.distill._pairs import Pairs, gap
from fromnoise.distill.levels import at_ratio, ratio
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level
from fromnoise.registry import register
from fromnoise.times.base import TimeSampling
from fromnoise.times.lognormal import LogNormal

_CLOSEST = math.log(2.0**20)
"""Largest log(q^a): beyond it x_s = x_t in float32, and the loss would learn rounding errors times 1 / (r_t - r_s)."""


@register("easy-consistency")
@dataclass(frozen=True, eq=False)
class EasyConsistency(Pairs):
    """L = d(f(x_t, t), f(x_s, s)) / (r_t - r_s), r_s = r_t max(0, 1 - n(r_t) / q^a), n(r) = 1 + k sigmoid(-b r).

    a = 1 + floor((step - 1) / double_every). With r_s = 0 this is the training of a denoiser, so a trained denoiser is
    a good start; from there the gap closes. Source: Geng et al. 2024 (arXiv 2406.14548), section 3.

    Args:
        teacher: the model whose weights the student starts from, and not used otherwise; None starts from scratch.
        q: factor by which the gap shrinks.
        double_every: number of training steps between two shrinkings.
        k, b: parameters of n(r).
        huber: c / sqrt(D) of the distance sqrt(|e|^2 + c^2) - c; 0 is the squared error.
        top, bottom: r at the noisiest level, and at the cleanest noisy level of a sampling grid.

    Raises:
        FromNoiseError: q is not above 1, double_every is below 1, or k is negative.
    """

    needs_teacher: ClassVar[bool] = False
    asks: ClassVar[bool] = False
    teacher: Denoiser | None = None
    q: float = 2.0
    double_every: int = 1000
    k: float = 8.0
    b: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.q <= 1 or self.double_every < 1 or self.k < 0:
            raise FromNoiseError(f"q > 1, double_every >= 1 and k >= 0 are needed, got {self.q:g}, {self.double_every} "
                                 f"and {self.k:g}")  # fmt: skip

    @property
    def times(self) -> TimeSampling:
        """ln r is normal, as in the paper."""
        return LogNormal(-1.1, 2.0)

    def pair(self, denoiser: Denoiser, t: Level, step: int) -> tuple[Level, Level, Tensor]:
        r = ratio(t)
        stage = 1 + max(step - 1, 0) // self.double_every
        shrunk = math.exp(-min(stage * math.log(self.q), _CLOSEST))
        share = (1 + self.k * torch.sigmoid(-self.b * r)) * shrunk
        s = at_ratio(denoiser.schedule, r * (1 - share).clamp_min(0))
        return t, s, gap(t, s)
