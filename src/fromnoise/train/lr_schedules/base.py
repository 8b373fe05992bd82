"""What a schedule of the learning rate is."""

from abc import ABC, abstractmethod
from typing import ClassVar


class LRSchedule(ABC):
    """The learning rate of step k is lr times `factor`; a linear warm-up multiplies it."""

    needs_steps: ClassVar[bool] = False
    """Whether the number of steps must be known from the start, so that a run by minutes cannot have it."""

    @abstractmethod
    def factor(self, step: int, steps: int | None, warmup: int) -> float:
        """In [0, 1].

        Args:
            step: from 1.
            steps: of the whole run, where known.
            warmup: steps over which the learning rate rises.
        """
