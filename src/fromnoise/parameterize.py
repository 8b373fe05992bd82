"""What a network's output F means, and every other view of the same prediction.

A parameterisation is one linear equation between the output and the pair (x_0, eps):

    k F = f_0 x_0 + f_e eps,        and always        x_t = alpha x_0 + sigma eps

so that the target follows from (x_0, eps), and (x_0, eps) follow from (x_t, F) by Cramer's rule with the
determinant alpha f_e - sigma f_0. Any parameterisation converts to any other through these two lines.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError, unknown
from fromnoise.gaussian import Level, like, step
from fromnoise.schedules.base import Schedule


class Equation(NamedTuple):
    """k F = f0 x_0 + fe eps at one level or a batch of them: float64."""

    k: Tensor
    f0: Tensor
    fe: Tensor


class Parameterization(ABC):
    """The meaning of F(x_t, t)."""

    name: str

    @property
    def spec(self) -> str | dict[str, Any]:
        """From which `parameterization` makes the same object again."""
        return self.name

    @abstractmethod
    def equation(self, t: Level, schedule: Schedule) -> Equation:
        """The three coefficients at level t."""

    def target(self, x0: Tensor, eps: Tensor, t: Level, schedule: Schedule) -> Tensor:
        """What F should be, given the clean data and the noise, both [B, ...]: (f0 x_0 + fe eps) / k."""
        k, f0, fe = self.equation(t, schedule)
        return like(f0 / k, x0) * x0 + like(fe / k, eps) * eps

    def scale_input(self, t: Level) -> Tensor | None:
        """What x_t is multiplied by before the network sees it; None where nothing is."""
        return None

    def solvable(self, t: Level, schedule: Schedule) -> bool:
        """Whether the output at level t says what x_0 is: the determinant is not 0."""
        _, f0, fe = self.equation(t, schedule)
        det = t.alpha * fe - t.sigma * f0
        return bool((torch.isfinite(det) & (det != 0)).all())

    def score_factors(self, t: Level, equation: Equation) -> tuple[Tensor, Tensor]:
        """(p, q) with score = p x_t + q F; -eps / sigma unless the subclass knows it without dividing by sigma."""
        k, f0, fe = equation
        scaled = t.sigma * (t.alpha * fe - t.sigma * f0)
        return f0 / scaled, -t.alpha * k / scaled


class Eps(Parameterization):
    """F = eps, the noise relative to x_0 and not that of step t (Sedykh eq. 2.80, 2.98; Notes eq. 15)."""

    name = "eps"

    def equation(self, t: Level, schedule: Schedule) -> Equation:
        one = torch.ones_like(t.alpha)
        return Equation(one, torch.zeros_like(one), one)


class X0(Parameterization):
    """F = x_0, the clean data (Friedman eq. 34)."""

    name = "x0"

    def equation(self, t: Level, schedule: Schedule) -> Equation:
        one = torch.ones_like(t.alpha)
        return Equation(one, one, torch.zeros_like(one))


class V(Parameterization):
    """F = v = alpha eps - sigma x_0 (Salimans and Ho, 2022)."""

    name = "v"

    def equation(self, t: Level, schedule: Schedule) -> Equation:
        return Equation(torch.ones_like(t.alpha), -t.sigma, t.alpha)


class Score(Parameterization):
    """F = grad log q(x_t) = -eps / sigma (Sedykh eq. 3.29)."""

    name = "score"

    def equation(self, t: Level, schedule: Schedule) -> Equation:
        one = torch.ones_like(t.alpha)
        return Equation(-t.sigma, torch.zeros_like(one), one)

    def score_factors(self, t: Level, equation: Equation) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(t.alpha), torch.ones_like(t.alpha)


class Mean(Parameterization):
    """F = the mean of q(x_{t-1} | x_t, x_0), of neighbouring rows (Sedykh eq. 2.68, 2.87-2.89; Friedman eq. 33)."""

    name = "mean"

    def equation(self, t: Level, schedule: Schedule) -> Equation:
        k = step(t, schedule.level((t.time - 1).clamp_min(0)))  # row 1 may be a rounding error below 1
        return Equation(torch.ones_like(t.alpha), k.from_x_t * t.alpha + k.from_x0, k.from_x_t * t.sigma)


class EDM(Parameterization):
    """x0 = c_skip y + c_out F(c_in y), y = x_t / alpha = x_0 + (sigma / alpha) eps, for data of variance data_std^2.

    With r = sigma / alpha: c_skip = d^2 / (r^2 + d^2), c_out = r d / sqrt(r^2 + d^2), c_in = 1 / sqrt(r^2 + d^2), so
    that input and target have variance 1 at every level (Karras et al. 2022, table 1). Divided by r the equation is
    regular at the clean level too.

    Args:
        data_std: d, the standard deviation of the data.
    """

    name = "edm"

    def __init__(self, data_std: float = 0.5):
        if data_std <= 0:
            raise FromNoiseError(f"parameterization.data_std must be positive, got {data_std}")
        self.data_std = data_std

    @property
    def spec(self) -> str | dict[str, Any]:
        return {"name": self.name, "data_std": self.data_std}

    def equation(self, t: Level, schedule: Schedule) -> Equation:
        r, d = t.sigma / t.alpha, self.data_std
        total = r**2 + d**2
        return Equation(d / torch.sqrt(total), r / total, -(d**2) / total)

    def scale_input(self, t: Level) -> Tensor:
        return 1 / torch.sqrt(t.sigma**2 + (t.alpha * self.data_std) ** 2)


PARAMETERIZATIONS: dict[str, type[Parameterization]] = {cls.name: cls for cls in (Eps, X0, Mean, V, Score, EDM)}


def parameterization(name: str | Mapping[str, Any] | Parameterization) -> Parameterization:
    """The object of that name, or of {"name": ..., option: value} (or the object itself).

    Raises:
        FromNoiseError: an unknown name or option.
    """
    if isinstance(name, Parameterization):
        return name
    options = {"name": name} if isinstance(name, str) else dict(name)
    kind = options.pop("name", None)
    if kind not in PARAMETERIZATIONS:
        raise unknown("parameterization", kind, PARAMETERIZATIONS)
    try:
        return PARAMETERIZATIONS[kind](**options)
    except TypeError:
        raise FromNoiseError(f"parameterization {kind} has no such options: {', '.join(options)}") from None


@dataclass(frozen=True)
class Prediction:
    """A network's output at x_t, seen as x_0, eps, score or v: each solved from the output when asked for.

    Attributes:
        x_t: the noisy state, [B, ...].
        t: its level.
        output: F(x_t, t), of the shape of x_t.
        kind: the parameterisation that says what the output means.
        schedule: the schedule that t belongs to.
        variance: learned fraction of the log-variance between beta-tilde (0) and b (1), of the shape of x_t.
        guide: scale * grad log p(y | x_t), of the shape of x_t: x0, eps, score and v are those of the guided density
            q(x_t) p(y | x_t)^scale; the reverse step shifts its mean by the variance times it (see `reverse`).
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
        (whose x0_hat is another number).
        """
        return self._shift(self.plain_x0, lambda t: torch.where(t.alpha > 0, t.sigma**2 / t.alpha, 0.0))

    def _shift(self, value: Tensor, factor: Callable[[Level], Tensor]) -> Tensor:
        return value if self.guide is None else value + like(factor(self.t), value) * self.guide

    @property
    def x0_per_output(self) -> Tensor:
        """d x0 / d output, a number of the level: float64, scalar or [B]."""
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
        """The prediction of another x_0 at the same x_t; eps, score and v follow from it."""
        return replace(self, output=x0, kind=X0(), guide=None)
