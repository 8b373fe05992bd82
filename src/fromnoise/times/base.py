"""What a time sampling is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from fromnoise.gaussian import Level
from fromnoise.schedules.base import Schedule


class TimeSampling(ABC):
    """u, uniform in [0, 1) -> a level, and the weight that its loss is given.

    The u of an example is counted; the rest is a function of u and of the state, which a checkpoint holds and which is
    the same in every process.
    """

    watches: ClassVar[bool] = False
    """Whether `observe` wants to be told of the losses."""

    on_rows: ClassVar[bool] = True
    """Whether every level that is drawn is a row of the schedule's chain."""

    def arrange(self, u: Tensor, places: range, size: int) -> Tensor:
        """u of the examples `places` of a batch of `size`, as `draw` shall see them; independent unless overridden."""
        return u

    @abstractmethod
    def draw(self, u: Tensor, schedule: Schedule) -> tuple[Level, Tensor]:
        """Levels and weights, each [B]; weights are float64 on the CPU."""

    def observe(self, t: Level, losses: Tensor, schedule: Schedule) -> None:  # noqa: B027  most samplings do not watch
        """The losses, before their weights, of the whole batch in its global order: [B] each."""

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next draw depends on."""
        return {}

    def load(self, state: dict[str, Tensor]) -> None:  # noqa: B027  nor have a state
        """The inverse of `state`."""
