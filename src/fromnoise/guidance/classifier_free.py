"""Classifier-free guidance: away from the unconditional prediction."""

from dataclasses import replace

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level
from fromnoise.guidance._contrast import Contrast
from fromnoise.parameterizations.prediction import Prediction


class ClassifierFree(Contrast):
    """F <- F_null + scale (F_cond - F_null), in one call with twice the batch; scale 1 is the conditional model.

    The score becomes scale grad log q(x_t | y) + (1 - scale) grad log q(x_t), that of q(x_t) q(y | x_t)^scale (Sedykh
    eq. 4.26-4.30; Ho and Salimans 2022, whose w is scale - 1). Except at scale 0 and 1 this is in general not the
    score of a diffused density; above 1 the samples are usually narrower than q(x_0) q(y | x_0)^scale. A learned
    variance is taken from the conditional prediction.

    Args:
        denoiser: a conditional model.
        null: the null conditions, by name, each [...] without a batch axis. Conditions that are not in `null` (such as
            the low-resolution image of a super-resolution model) are the same in both predictions.
        scale: guidance scale; 1 is off, 0 is the unconditional model.
        options: `interval`, (low, high): guide only where low < sigma/alpha <= high. `rescale`, in [0, 1]: how far the
            standard deviation of x_0 is moved back to the unguided one. `channels`: guide only the leading channels.
    """

    def __init__(self, denoiser: Denoiser, null: Cond, scale: float = 1.0, **options):
        super().__init__(denoiser, scale, **options)
        self.null = null

    def pair(self, x_t: Tensor, t: Level, cond: Cond | None) -> tuple[Prediction, Tensor] | None:
        if cond is None:
            return None
        n = x_t.shape[0]
        none = cond | {k: v.to(x_t.device).expand(n, *v.shape) for k, v in self.null.items()}
        if self.scale == 0 and self.interval is None and self.channels is None:
            p = self.inner(x_t, t, none)  # one prediction is enough: half the cost
            return p, p.output
        both = {k: torch.cat([cond[k], none[k]]) for k in cond}
        level = t if not t.alpha.dim() else Level(t.time.repeat(2), t.alpha.repeat(2), t.sigma.repeat(2))
        p = self.inner(torch.cat([x_t, x_t]), level, both)
        wanted, plain = p.output[:n], p.output[n:]
        variance = p.variance[:n] if p.variance is not None else None
        return replace(p, x_t=x_t, t=t, output=wanted, variance=variance), plain
