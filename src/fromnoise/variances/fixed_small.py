"""beta-tilde, the variance of the posterior."""

from dataclasses import dataclass

from torch import Tensor

from fromnoise.gaussian import Step
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.registry import register
from fromnoise.variances.base import Variance


@register("fixed-small")
@dataclass(frozen=True)
class FixedSmall(Variance):
    """beta-tilde = b sigma_s^2 / sigma_t^2 of the posterior (Sedykh eq. 2.12, 2.68; Weng eq. 18; Notes eq. 12)."""

    def log_var(self, p: Prediction, k: Step, small: Tensor) -> Tensor:
        return small
