"""The best isotropic variance, from the average posterior covariance of x_0."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fromnoise import variances
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, Step
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.variances.base import Variance


@dataclass(frozen=True)
class Optimal(Variance):
    """v* = beta-tilde + c^2 E tr Cov[x_0 | x_t] / D, c the posterior's weight of x_0: the best isotropic variance.

    It minimises every L_t, including the decoder's, and makes the bound on Gaussian data tight up to its prior term
    (Friedman eq. 37). Source: Analytic-DPM (Bao et al. 2022), theorem 1.

    Args:
        spread: t -> E tr Cov[x_0 | x_t] / D at level t, float64, of the shape of t.alpha: exact for an oracle, or the
            mean squared error of x0hat on data (see `bound.optimal_variance`).
    """

    spread: Callable[[Level], Tensor]

    @property
    def spec(self) -> str | dict[str, Any]:
        """Not available: the variance cannot be saved.

        Raises:
            FromNoiseError: always.
        """
        others = ", ".join(name.replace("-", "_") for name in variances.names())
        raise FromNoiseError(
            f"variance optimal is made from data and cannot be saved; save the model with one of {others}"
        )

    def log_var(self, p: Prediction, k: Step, small: Tensor) -> Tensor:
        return torch.log(k.variance + k.from_x0**2 * self.spread(p.t))
