"""What a coupling is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor


class Coupling(ABC):
    """(x_0, eps) ~ pi, whose marginals are the data's and N(0, I): which noise each example of a batch is mixed with.

    The noise of a place is counted; the rest is a function of the group of places that it stands in, so that neither
    the number of processes nor `accumulate` changes it.
    """

    takes: ClassVar[tuple[str, ...]] = ()
    """Conditions of the examples that are for the pairing, and not for the network."""

    many_draws: ClassVar[bool] = False
    """Whether an example may have several noises, [B, draws, ...], as some objectives need."""

    @property
    def group(self) -> int:
        """How many consecutive places of the global batch are paired together; parts of a batch are multiples of it."""
        return 1

    def check(self) -> None:  # noqa: B027  most need nothing
        """Before training: whether what the coupling computes with is installed.

        Raises:
            FromNoiseError: it is not; with the way out.
        """

    @abstractmethod
    def pair(self, x0: Tensor, eps: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """The noise of each example, of the shape of `eps`.

        Args:
            x0: examples as the loss sees them, mirrored and augmented, [B, ...]; whole groups, but for the last of
                held-out examples.
            eps: their counted noise, [B, ...].
            given: their conditions, each [B, ...]: those that the network gets, and those of `takes`.
        """
