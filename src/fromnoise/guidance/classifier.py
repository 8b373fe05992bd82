"""Classifier guidance: the gradient of log p(y | x_t) steers sampling."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.gaussian import Level
from fromnoise.guidance.base import Wrapper
from fromnoise.nn.text.base import TextEncoder
from fromnoise.parameterizations.prediction import Prediction

LogProb = Callable[[Tensor, Level, Cond | None], Tensor]
"""(x_t, t, cond) -> log p(y | x_t), [B], differentiable in x_t; y is in cond."""


class Classifier(Wrapper):
    """score <- score + scale grad log p(y | x_t), the score of q(x_t) p(y | x_t)^scale; scale 1 is Bayes' rule.

    For samplers that use eps, this is eps - scale sigma_t grad log p (Sedykh Algorithm 4, with the logarithm and the
    scale that are missing there). The ancestral step shifts its mean by the variance times the gradient (Sedykh eq.
    4.20-4.25).

    Args:
        denoiser: the model to steer, unconditional or not.
        log_prob: log p(y | x_t) of noisy states, e.g. `NoisyClassifier.log_prob`.
        scale: factor of the gradient; 0 is off.
        class_names: for a denoiser without classes: those of the classifier. The label then goes only to the
            classifier.
        text: for a denoiser without text conditioning: the text encoder of `log_prob`.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        log_prob: LogProb,
        scale: float = 1.0,
        class_names: Sequence[str] | None = None,
        text: TextEncoder | None = None,
    ):
        super().__init__(denoiser)
        self.log_prob, self.scale = log_prob, scale
        self.lends = class_names is not None and not denoiser.classes
        if self.lends and class_names is not None:
            self.class_names = tuple(class_names)
        self.own = {"label"} if self.lends else set()
        if text is not None and denoiser.text is None:
            self.own = self.own | {"text"}
        self.text: TextEncoder | None = denoiser.text or text

    @property
    def classes(self) -> int:
        """Number of classes of the denoiser, or of the classifier if the denoiser has none."""
        return len(self.class_names) if self.lends else self.inner.classes

    def forward(self, x_t: Tensor, t: Level, cond: Cond | None = None) -> Prediction:
        told = {k: v for k, v in cond.items() if k not in self.own} or None if cond else None
        p = self.inner(x_t, t, told)
        if not self.scale:
            return p
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.log_prob(x, t, cond).sum(), x)
        return replace(p, guide=self.scale * slope)
