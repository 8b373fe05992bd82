"""A network's output, converted to x_0, eps, score or v."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from fromnoise.gaussian import Level, like
from fromnoise.parameterizations.base import Equation, Parameterization
from fromnoise.parameterizations.x0 import X0
from fromnoise.schedules.base import Schedule


@dataclass(frozen=True)
class Prediction:
    """A network's output at x_t, available as x_0, eps, score or v, each computed on first use.

    Attributes:
        x_t: the noisy state, [B, ...].
        t: its level.
        output: F(x_t, t), of the shape of x_t.
        kind: the parameterisation that defines the meaning of the output.
        schedule: the schedule that t belongs to.
        variance: learned position of the log-variance between beta-tilde (0) and b (1), of the shape of x_t.
        guide: scale * grad log p(y | x_t), of the shape of x_t. If given, x0, eps, score and v are those of the guided
            density q(x_t) p(y | x_t)^scale, and the reverse step adds the variance times the guide to its mean (see
            `reverse`).
    """

    x_t: Tensor
    t: Level
    output: Tensor
    kind: Parameterization
    schedule: Schedule
    variance: Tensor | None = None
    guide: Tensor | None = None

    @cached_property
    def _equation(self) -> Equation:
        return self.kind.equation(self.t, self.schedule)

    def _combine(self, of_x_t: Tensor, of_output: Tensor) -> Tensor:
        return like(of_x_t, self.x_t) * self.x_t + like(of_output, self.x_t) * self.output

    @cached_property
    def plain_x0(self) -> Tensor:
        """x_0 as the network predicts it, without the guide."""
        k, f0, fe = self._equation
        det = self.t.alpha * fe - self.t.sigma * f0
        return self._combine(fe / det, -self.t.sigma * k / det)

    @cached_property
    def x0(self) -> Tensor:
        """E[x_0 | x_t] as predicted: (fe x_t - sigma k F) / (alpha fe - sigma f0).

        For eps it is (x_t - sqrt(1 - abar) eps) / sqrt(abar): Sedykh eq. 2.70-2.71 and 4.11, Weng eq. 20, Shorts eq. 3
        (whose x0_hat is a different quantity).
        """
        return self._shift(self.plain_x0, lambda t: torch.where(t.alpha > 0, t.sigma**2 / t.alpha, 0.0))

    def _shift(self, value: Tensor, factor: Callable[[Level], Tensor]) -> Tensor:
        return value if self.guide is None else value + like(factor(self.t), value) * self.guide

    @property
    def x0_per_output(self) -> Tensor:
        """d x0 / d output, which depends only on the level: float64, scalar or [B]."""
        k, f0, fe = self._equation
        return -self.t.sigma * k / (self.t.alpha * fe - self.t.sigma * f0)

    @cached_property
    def eps(self) -> Tensor:
        """(alpha k F - f0 x_t) / (alpha fe - sigma f0)."""
        k, f0, fe = self._equation
        det = self.t.alpha * fe - self.t.sigma * f0
        return self._shift(self._combine(-f0 / det, self.t.alpha * k / det), lambda t: -t.sigma)

    @cached_property
    def score(self) -> Tensor:
        """grad log q(x_t) = -eps / sigma = (alpha x_0 - x_t) / sigma^2 (Sedykh eq. 3.22-3.29)."""
        score = self._combine(*self.kind.score_factors(self.t, self._equation))
        return self._shift(score, lambda t: torch.ones_like(t.sigma))

    @cached_property
    def v(self) -> Tensor:
        """alpha eps - sigma x_0."""
        return like(self.t.alpha, self.x_t) * self.eps - like(self.t.sigma, self.x_t) * self.x0

    def with_x0(self, x0: Tensor) -> "Prediction":
        """A prediction with the given x_0 at the same x_t, from which eps, score and v follow."""
        return replace(self, output=x0, kind=X0(), guide=None)
