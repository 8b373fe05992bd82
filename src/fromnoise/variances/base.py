"""What a variance of the reverse step is."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from fromnoise.gaussian import Level, Step
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.registry import short_spec
from fromnoise.schedules.base import Chain


class Variance(ABC):
    """The variance of p(x_s | x_t). Registered ones are frozen dataclasses, one in a file."""

    outputs: ClassVar[int] = 1
    """How many times the state's channels (its axis 1) the network puts out."""

    @property
    def name(self) -> str:
        """In messages: the registered name as files spell it, or the class's own."""
        return vars(type(self)).get("registered_name", type(self).__name__).replace("-", "_")

    @property
    def spec(self) -> str | dict[str, Any]:
        """What files hold, from which `variances.build` makes the same object again; the name with underscores.

        Raises:
            FromNoiseError: the class is not registered.
        """
        found = short_spec(self)
        return self.name if isinstance(found, str) else found | {"name": self.name}

    @abstractmethod
    def log_var(self, p: Prediction, k: Step, small: Tensor) -> Tensor:
        """Scalar, [B] (float64) or like p.x_t.

        Args:
            p: the prediction at x_t.
            k: the numbers of the step; k.variance is beta-tilde, 0 for the step to the clean level.
            small: log beta-tilde, for the step to the clean level that of the chain's step before it.
        """


def log_small(k: Step, s: Level, chain: Chain | None = None) -> Tensor:
    """log beta-tilde of a step; at s = 0, where it is -inf, the chain's first-step rule, or 0 where no chain is given.

    The 0 stands for nothing. The logarithm of a variance of 0 would spoil the gradient of a learned schedule, even
    where it is not used.
    """
    last = s.sigma == 0
    instead = chain.first_log_var if chain is not None else torch.zeros_like(k.variance)
    return torch.where(last, instead, torch.log(torch.where(last, 1.0, k.variance)))
