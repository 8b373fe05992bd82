"""beta, the variance of the forward step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fromnoise.gaussian import Step
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.registry import register
from fromnoise.variances.base import Variance


@register("fixed-large")
@dataclass(frozen=True)
class FixedLarge(Variance):
    """b: beta_t if s = t - 1, and sigma-hat^2 on a sub-sequence; the step to s = 0 has the variance of FixedSmall.

    Source: Ho et al. 2020, arXiv 2006.11239, section 3.2; Sedykh eq. 2.12 and 4.19; Notes eq. 12 and 17.
    """

    def log_var(self, p: Prediction, k: Step, small: Tensor) -> Tensor:
        return torch.where(k.variance == 0, small, torch.log(k.b))
