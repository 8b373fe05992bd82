"""EDM's preconditioning: input and target have variance 1 at every level."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level
from fromnoise.parameterizations.base import Equation, Parameterization
from fromnoise.registry import register
from fromnoise.schedules.base import Schedule


@register("edm")
@dataclass(frozen=True)
class EDM(Parameterization):
    """x0 = c_skip y + c_out F(c_in y), y = x_t / alpha = x_0 + (sigma / alpha) eps, for data of variance data_std^2.

    With r = sigma / alpha: c_skip = d^2 / (r^2 + d^2), c_out = r d / sqrt(r^2 + d^2), c_in = 1 / sqrt(r^2 + d^2).
    Input and target then have variance 1 at every level (Karras et al. 2022, table 1). The equation is divided by r, so
    that it is regular at the clean level too.

    Args:
        data_std: d, the standard deviation of the data.
    """

    data_std: float = 0.5

    def __post_init__(self) -> None:
        if self.data_std <= 0:
            raise FromNoiseError(f"data_std must be positive, got {self.data_std}")

    def equation(self, t: Level, schedule: Schedule) -> Equation:
        r, d = t.sigma / t.alpha, self.data_std
        total = r**2 + d**2
        return Equation(d / torch.sqrt(total), r / total, -(d**2) / total)

    def scale_input(self, t: Level) -> Tensor:
        return 1 / torch.sqrt(t.sigma**2 + (t.alpha * self.data_std) ** 2)
