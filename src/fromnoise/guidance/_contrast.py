"""Base class of guidance without a classifier: away from a weaker prediction, towards a better one."""

import math
from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, like
from fromnoise.guidance.base import Wrapper
from fromnoise.parameterizations.prediction import Prediction


class Contrast(Wrapper):
    """F <- F_weak + scale (F - F_weak), optionally within an interval of noise levels, and rescaled.

    Args:
        denoiser: the better model.
        scale: guidance scale; 1 is off.
        interval: (low, high): guide only where low < sigma/alpha <= high. Guidance at high noise costs variety, and at
            low noise it only costs network calls (Kynkaanniemi et al. 2024, whose sigma is sigma/alpha). Default: all
            levels.
        rescale: in [0, 1]: how far the standard deviation of each guided x_0 is moved back to that of the unguided one,
            against overexposed images (Lin et al. 2024, eq. 15-16, who rescale the output; x_0 does not depend on the
            parameterisation). States of a single number cannot be rescaled.
        channels: guide only this many leading channels (3 of 4 in DiT's published samples); default: all.

    Raises:
        FromNoiseError: the interval is empty, `rescale` is outside [0, 1], or the states have a single number.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float = 1.0,
        interval: tuple[float, float] | None = None,
        rescale: float = 0.0,
        channels: int | None = None,
    ):
        super().__init__(denoiser)
        if interval is not None and not 0 <= interval[0] < interval[1]:
            raise FromNoiseError(f"the guidance interval must be 0 <= low < high, got {interval[0]:g} {interval[1]:g}")
        if not 0 <= rescale <= 1:
            raise FromNoiseError(f"guidance rescale must lie in [0, 1], got {rescale:g}")
        if rescale and denoiser.shape is not None and math.prod(denoiser.shape) < 2:
            raise FromNoiseError("guidance rescale needs the standard deviation of a state, but these states have one "
                                 "number: leave it at 0")  # fmt: skip
        self.scale, self.interval, self.rescale, self.channels = scale, interval, rescale, channels

    @abstractmethod
    def pair(self, x_t: Tensor, t: Level, cond: Cond | None) -> tuple[Prediction, Tensor] | None:
        """The better prediction and the weaker output; None if they are the same."""

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        scale = self._scale(t)
        found = self.pair(x_t, t, cond) if self._guides(scale) else None
        if found is None:
            return self.inner(x_t, t, cond)
        p, lesser = found
        moved = lesser + like(scale, lesser) * (p.output - lesser)
        if self.channels is not None:
            moved = torch.cat([moved[:, : self.channels], p.output[:, self.channels :]], 1)
        guided = replace(p, output=moved)
        return self._rescaled(guided, p) if self.rescale else guided

    def _scale(self, t: Level) -> Tensor:
        """The scale at level t, scalar or [B]."""
        whole = torch.full_like(t.alpha, self.scale)
        if self.interval is None:
            return whole
        low, high = self.interval
        return torch.where((t.sigma > low * t.alpha) & (t.sigma <= high * t.alpha), whole, 1.0)

    def _guides(self, scale: Tensor) -> bool:
        """Whether any example is guided. In an exported graph the levels are inputs, so with an interval any may be."""
        if self.interval is None or (scale.dim() and torch.compiler.is_exporting()):
            return self.scale != 1
        return bool((scale != 1).any())

    def _rescaled(self, guided: Prediction, plain: Prediction) -> Prediction:
        dims = tuple(range(1, guided.x0.dim()))
        ratio = plain.x0.std(dims, keepdim=True) / guided.x0.std(dims, keepdim=True).clamp_min(1e-12)
        return guided.with_x0(guided.x0 * (1 + self.rescale * (ratio - 1)))
