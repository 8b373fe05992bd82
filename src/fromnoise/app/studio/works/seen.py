"""Converts states for display, and wraps denoisers to watch their predictions. Needs torch."""

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
"""The largest side, in pixels, of images shown during sampling; at the end they are shown in full size."""


class Watched(Wrapper):
    """Wraps a denoiser: keeps the first prediction of every step, and counts the calls and their seconds."""

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
        """Return the first prediction since the last call of `taken`, and forget it."""
        found, self.first = self.first, None
        return found


def images(x: Tensor, scale: float = 1.0) -> np.ndarray:
    """Convert [N, C, H, W] / scale to bytes [N, C', H', W'], at most `LARGEST` pixels a side.

    1, 3 or 4 channels are kept. Of other latents, the first three channels are shown as red, green and blue.
    """
    kept = x if x.shape[1] in (1, 3, 4) else x[:, : 3 if x.shape[1] > 3 else 1]
    return to_uint8(smaller(kept.float() / scale)).cpu().numpy()


def smaller(x: Tensor) -> Tensor:
    """Shrink images to at most `LARGEST` pixels a side."""
    most = max(x.shape[-2:])
    if most <= LARGEST:
        return x
    size = [max(1, round(side * LARGEST / most)) for side in x.shape[-2:]]
    return functional.interpolate(x, size, mode="area")


def spread(level: Level) -> float:
    """The divisor for showing x_t: sqrt(alpha^2 + sigma^2), but at least 1."""
    return max(1.0, float((level.alpha**2 + level.sigma**2).sqrt().max()))


def numbers(x: Tensor) -> np.ndarray:
    """Points and signals as float32."""
    return x.detach().float().cpu().numpy()


def root_mean_square(x: Tensor) -> np.ndarray:
    """Root mean square of each example, [N]."""
    return x.flatten(1).float().square().mean(1).sqrt().cpu().numpy()
