"""Base class of couplings."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor


class Coupling(ABC):
    """(x_0, eps) ~ pi, with the data distribution and N(0, I) as marginals: pairs each example with its noise.

    The noise of each position in the global batch depends only on the seed and the position. The pairing is a function
    of the group of positions, so neither the number of processes nor `accumulate` changes it.
    """

    takes: ClassVar[tuple[str, ...]] = ()
    """Conditions of the examples that the coupling uses and the network does not get."""

    many_draws: ClassVar[bool] = False
    """Whether an example may have several noise draws, [B, draws, ...], as some objectives need."""

    @property
    def group(self) -> int:
        """Number of consecutive positions of the global batch that are paired together.

        Every part of a batch is a multiple of it.
        """
        return 1

    def check(self) -> None:  # noqa: B027  most need nothing
        """Check, before training, that the packages that the coupling needs are installed.

        Raises:
            FromNoiseError: one is missing; the message says how to install it.
        """

    @abstractmethod
    def pair(self, x0: Tensor, eps: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """The noise of each example, of the shape of `eps`.

        Args:
            x0: examples as they enter the loss, mirrored and augmented, [B, ...]; whole groups, except for the last
                group of held-out examples.
            eps: the noise of their positions, [B, ...].
            given: their conditions, each [B, ...]: those of the network, and those named in `takes`.
        """
