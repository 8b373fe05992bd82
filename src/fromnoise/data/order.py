"""The base class of data sets' own orders, in which training shows their examples."""

from abc import ABC, abstractmethod
from collections.abc import Sequence


class Order(ABC):
    """The examples of each training step, for a data set that determines its own order."""

    @abstractmethod
    def numbers(self, step: int, places: Sequence[int]) -> Sequence[int]:
        """The numbers of the examples at these positions of the batch of step `step` (from 1)."""

    @abstractmethod
    def ahead(self, step: int, places: Sequence[int]) -> None:
        """Prepare, in the background, the examples at these positions for step `step` and the following ones."""

    def note(self, processes: int) -> str | None:
        """A warning for the user if this many processes share each batch, or None."""
        return None
