"""Classifier-free guidance: away from the unconditional prediction."""

from dataclasses import replace

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level
from fromnoise.guidance._base import Wrapper
from fromnoise.parameterize import Prediction


class ClassifierFree(Wrapper):
    """F <- F_null + scale (F_cond - F_null), in one call of twice the batch; scale 1 is the conditional model.

    The score becomes scale grad log q(x_t | y) + (1 - scale) grad log q(x_t): of log q(x_t) q(y | x_t)^scale
    (Sedykh eq. 4.26-4.30; Ho and Salimans 2022, whose w is scale - 1). It is not the score of a diffused density: the
    samples are narrower than that density's. The learned variance is the conditional branch's.

    Args:
        denoiser: a conditional one.
        null: the condition that stands for none, each entry [...] without a batch.
        scale: 1 is off.
    """

    def __init__(self, denoiser: Denoiser, null: Cond, scale: float = 1.0):
        super().__init__(denoiser)
        self.null, self.scale = null, scale

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        if self.scale == 1 or cond is None:
            return self.inner(x_t, t, cond)
        n = len(x_t)
        none = {k: v.to(x_t.device).expand(n, *v.shape) for k, v in self.null.items()}
        both = {k: torch.cat([cond[k], none[k]]) for k in cond}
        level = t if not t.alpha.dim() else Level(t.time.repeat(2), t.alpha.repeat(2), t.sigma.repeat(2))
        p = self.inner(torch.cat([x_t, x_t]), level, both)
        wanted, plain = p.output.chunk(2)
        variance = p.variance[:n] if p.variance is not None else None
        return replace(p, x_t=x_t, t=t, output=plain + self.scale * (wanted - plain), variance=variance)
