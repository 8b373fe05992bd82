"""Base class of time samplings."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from fromnoise.gaussian import Level
from fromnoise.schedules.base import Schedule


class TimeSampling(ABC):
    """u, uniform in [0, 1) -> a level, and the weight of its loss.

    The u of an example depends only on the seed and the example's number. All else is a function of u and of the state,
    which is stored in checkpoints and is the same in every process.
    """

    watches: ClassVar[bool] = False
    """Whether `observe` must be called with the losses."""

    on_rows: ClassVar[bool] = True
    """Whether every drawn level is a row of the schedule's chain."""

    def arrange(self, u: Tensor, places: range, size: int) -> Tensor:
        """The u that `draw` gets for the examples at `places` of a batch of `size`; default: u itself, independent."""
        return u

    @abstractmethod
    def draw(self, u: Tensor, schedule: Schedule) -> tuple[Level, Tensor]:
        """Levels and weights, each [B]; weights are float64 on the CPU."""

    def observe(self, t: Level, losses: Tensor, schedule: Schedule) -> None:  # noqa: B027  most samplings do not watch
        """Receive the unweighted losses of the whole batch in its global order: [B] each."""

    def state(self) -> dict[str, Tensor]:
        """All tensors that later draws depend on, for checkpoints."""
        return {}

    def load(self, state: dict[str, Tensor]) -> None:  # noqa: B027  nor have a state
        """Restore the tensors that `state` returned."""
