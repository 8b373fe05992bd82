"""Base class of parameterisations, which define the meaning of a network's output F.

A parameterisation is one linear equation between the output and the pair (x_0, eps):

    k F = f_0 x_0 + f_e eps,        and always        x_t = alpha x_0 + sigma eps

The training target follows from (x_0, eps), and (x_0, eps) follow from (x_t, F) by Cramer's rule with the determinant
alpha f_e - sigma f_0. Any parameterisation converts to any other through these two equations.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fromnoise.gaussian import Level, like
from fromnoise.registry import short_spec
from fromnoise.schedules.base import Schedule


class Equation(NamedTuple):
    """k F = f0 x_0 + fe eps at one level or a batch of levels; float64."""

    k: Tensor
    f0: Tensor
    fe: Tensor


class Parameterization(ABC):
    """The meaning of F(x_t, t), given by one linear `equation`.

    Registered parameterisations are frozen dataclasses, one per file.
    """

    @property
    def name(self) -> str:
        """The registered name, or the class name if it is not registered."""
        return vars(type(self)).get("registered_name", type(self).__name__)

    @property
    def spec(self) -> str | dict[str, Any]:
        """The description in model files, from which `parameterizations.build` rebuilds the object.

        Raises:
            FromNoiseError: the class is not registered.
        """
        return short_spec(self)

    @abstractmethod
    def equation(self, t: Level, schedule: Schedule) -> Equation:
        """The three coefficients at level t."""

    def target(self, x0: Tensor, eps: Tensor, t: Level, schedule: Schedule) -> Tensor:
        """(f0 x_0 + fe eps) / k: the training target of F, from clean data and noise, both [B, ...]."""
        k, f0, fe = self.equation(t, schedule)
        return like(f0 / k, x0) * x0 + like(fe / k, eps) * eps

    def scale_input(self, t: Level) -> Tensor | None:
        """The factor by which x_t is multiplied before it enters the network; None for no scaling."""
        return None

    def solvable(self, t: Level, schedule: Schedule) -> bool:
        """Whether the output at level t determines x_0, i.e. the determinant is not 0."""
        _, f0, fe = self.equation(t, schedule)
        det = t.alpha * fe - t.sigma * f0
        return bool((torch.isfinite(det) & (det != 0)).all())

    def score_factors(self, t: Level, equation: Equation) -> tuple[Tensor, Tensor]:
        """(p, q) with score = p x_t + q F; default: from score = -eps / sigma, which needs sigma > 0."""
        k, f0, fe = equation
        scaled = t.sigma * (t.alpha * fe - t.sigma * f0)
        return f0 / scaled, -t.alpha * k / scaled
