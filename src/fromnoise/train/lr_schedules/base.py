"""The base class of learning rate schedules."""

from abc import ABC, abstractmethod
from typing import ClassVar


class LRSchedule(ABC):
    """A learning rate schedule: lr_k = lr times `factor` at step k, times a linear warm-up."""

    needs_steps: ClassVar[bool] = False
    """Whether the number of steps must be known in advance, so that a run by minutes cannot use the schedule."""

    @abstractmethod
    def factor(self, step: int, steps: int | None, warmup: int) -> float:
        """The factor on the learning rate, in [0, 1].

        Args:
            step: the step, from 1.
            steps: number of steps of the whole run, if known.
            warmup: steps over which the learning rate rises.
        """
