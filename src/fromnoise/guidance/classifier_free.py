"""Classifier-free guidance: away from the unconditional prediction."""

from dataclasses import replace

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level
from fromnoise.guidance._contrast import Contrast
from fromnoise.parameterizations.prediction import Prediction


class ClassifierFree(Contrast):
    """F <- F_null + scale (F_cond - F_null), in one call of twice the batch; scale 1 is the conditional model.

    The score becomes scale grad log q(x_t | y) + (1 - scale) grad log q(x_t): of log q(x_t) q(y | x_t)^scale
    (Sedykh eq. 4.26-4.30; Ho and Salimans 2022, whose w is scale - 1). It is not the score of a diffused density: the
    samples are narrower than that density's. The learned variance is the conditional branch's.

    Args:
        denoiser: a conditional one.
        null: what stands for no condition, each entry [...] without a batch; conditions that it does not name (the
            image that a super-resolution model is told) are the same in both branches.
        scale: 1 is off, 0 the unconditional model.
        options: interval, rescale and channels, as in `Contrast`.
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
            p = self.inner(x_t, t, none)  # half the cost
            return p, p.output
        both = {k: torch.cat([cond[k], none[k]]) for k in cond}
        level = t if not t.alpha.dim() else Level(t.time.repeat(2), t.alpha.repeat(2), t.sigma.repeat(2))
        p = self.inner(torch.cat([x_t, x_t]), level, both)
        wanted, plain = p.output[:n], p.output[n:]
        variance = p.variance[:n] if p.variance is not None else None
        return replace(p, x_t=x_t, t=t, output=wanted, variance=variance), plain
