"""Easy consistency tuning: a trained model becomes a consistency model as its pairs of levels close up."""

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
"""Of q^a: beyond it x_s is x_t in float32, and 1 / (r_t - r_s) times their rounding is what a loss would learn."""


@register("easy-consistency")
@dataclass(frozen=True, eq=False)
class EasyConsistency(Pairs):
    """L = d(f(x_t, t), f(x_s, s)) / (r_t - r_s), r_s = r_t max(0, 1 - n(r_t) / q^a), n(r) = 1 + k sigmoid(-b r).

    a = 1 + floor((step - 1) / double_every). At r_s = 0 it is training a denoiser; from there the pairs close up, so
    that a trained one is where it starts. Source: Geng et al. 2024 (arXiv 2406.14548), section 3.

    Args:
        teacher: where the student starts, and nothing else; None trains from nothing.
        q: by which the gap shrinks.
        double_every: steps between two such.
        k, b: of n(r).
        huber: c / sqrt(D) of the distance sqrt(|e|^2 + c^2) - c; 0 is the squared error.
        top, bottom: r of the highest level, and of the lowest of a grid.

    Raises:
        FromNoiseError: q not above 1, or double_every below 1.
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
        """ln r normal, as the paper draws it."""
        return LogNormal(-1.1, 2.0)

    def pair(self, denoiser: Denoiser, t: Level, step: int) -> tuple[Level, Level, Tensor]:
        r = ratio(t)
        stage = 1 + max(step - 1, 0) // self.double_every
        shrunk = math.exp(-min(stage * math.log(self.q), _CLOSEST))
        share = (1 + self.k * torch.sigmoid(-self.b * r)) * shrunk
        s = at_ratio(denoiser.schedule, r * (1 - share).clamp_min(0))
        return t, s, gap(t, s)
