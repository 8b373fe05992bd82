"""An order in which training shows examples, where a set has one of its own."""

from abc import ABC, abstractmethod
from collections.abc import Sequence


class Order(ABC):
    """Which examples each step shows, of a set that has an order of its own."""

    @abstractmethod
    def numbers(self, step: int, places: Sequence[int]) -> Sequence[int]:
        """Those at these places of the batch of step `step`, from 1."""

    @abstractmethod
    def ahead(self, step: int, places: Sequence[int]) -> None:
        """Have made ready, beside what is done now, what step `step` and those after it show at these places."""

    def note(self, processes: int) -> str | None:
        """What a person should know where so many processes share each batch."""
        return None
