"""States as a page shows them, and a denoiser that is watched. Needs torch."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fromnoise.data.images import to_uint8
from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level
from fromnoise.guidance.base import Wrapper
from fromnoise.parameterizations.prediction import Prediction

LARGEST = 128
"""Pixels of a side; what is larger is shown smaller while it is drawn, and whole at the end."""


class Watched(Wrapper):
    """The denoiser itself; the first prediction of every step is kept, and the seconds of all calls are counted."""

    guides = False

    def __init__(self, denoiser: Denoiser, heard: Callable[[Prediction], None] | None = None):
        super().__init__(denoiser)
        self.first: Prediction | None = None
        self.seconds, self.calls, self.heard = 0.0, 0, heard

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        started = time.perf_counter()
        p = self.inner(x_t, t, cond)
        if p.output.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - started
        self.calls += 1
        self.first = self.first or p
        if self.heard is not None:
            self.heard(p)
        return p

    def taken(self) -> Prediction | None:
        """The first prediction since this was last asked."""
        found, self.first = self.first, None
        return found


def images(x: Tensor, scale: float = 1.0) -> np.ndarray:
    """[N, C, H, W] / scale as bytes [N, C', H', W'], at most `LARGEST` pixels wide; other channels than 1, 3 and 4: 3.

    Latents have no colours of their own: their first three channels are shown as red, green and blue.
    """
    kept = x if x.shape[1] in (1, 3, 4) else x[:, : 3 if x.shape[1] > 3 else 1]
    return to_uint8(smaller(kept.float() / scale)).cpu().numpy()


def smaller(x: Tensor) -> Tensor:
    """Images of at most `LARGEST` pixels a side."""
    most = max(x.shape[-2:])
    if most <= LARGEST:
        return x
    size = [max(1, round(side * LARGEST / most)) for side in x.shape[-2:]]
    return functional.interpolate(x, size, mode="area")


def spread(level: Level) -> float:
    """What x_t is divided by to be seen: sqrt(alpha^2 + sigma^2), where noise is added without shrinking the data."""
    return max(1.0, float((level.alpha**2 + level.sigma**2).sqrt().max()))


def numbers(x: Tensor) -> np.ndarray:
    """Points and signals as they are, float32."""
    return x.detach().float().cpu().numpy()


def root_mean_square(x: Tensor) -> np.ndarray:
    """Of each example, [N]."""
    return x.flatten(1).float().square().mean(1).sqrt().cpu().numpy()
