"""Base class of the variances of the reverse step."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from fromnoise.gaussian import Level, Step
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.registry import short_spec
from fromnoise.schedules.base import Chain


class Variance(ABC):
    """The variance of p(x_s | x_t). Registered variances are frozen dataclasses, one per file."""

    outputs: ClassVar[int] = 1
    """Output channels of the network, as a multiple of the state's channels (axis 1)."""

    @property
    def name(self) -> str:
        """The registered name, with underscores as in files, or the class name if it is not registered."""
        return vars(type(self)).get("registered_name", type(self).__name__).replace("-", "_")

    @property
    def spec(self) -> str | dict[str, Any]:
        """The description in model files, from which `variances.build` rebuilds the object; names have underscores.

        Raises:
            FromNoiseError: the class is not registered.
        """
        found = short_spec(self)
        return self.name if isinstance(found, str) else found | {"name": self.name}

    @abstractmethod
    def log_var(self, p: Prediction, k: Step, small: Tensor) -> Tensor:
        """The log-variance: a float64 scalar or [B], or a tensor of the shape of p.x_t.

        Args:
            p: the prediction at x_t.
            k: the coefficients of the step; k.variance is beta-tilde, 0 for the step to the clean level.
            small: log beta-tilde; for the step to the clean level, the value of the neighbouring step (see
                `Chain.first_log_var`).
        """


def log_small(k: Step, s: Level, chain: Chain | None = None) -> Tensor:
    """log beta-tilde of a step; at s = 0, where it is -inf, `chain.first_log_var`, or 0 without a chain.

    The 0 is only a placeholder: log(0) would spoil the gradient of a learned schedule even if it is not used.
    """
    last = s.sigma == 0
    instead = chain.first_log_var if chain is not None else torch.zeros_like(k.variance)
    return torch.where(last, instead, torch.log(torch.where(last, 1.0, k.variance)))
