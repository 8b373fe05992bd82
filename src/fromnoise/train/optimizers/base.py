"""The base class of optimisers."""

from abc import ABC, abstractmethod

from torch import Tensor


class Optimizer(ABC):
    """An optimiser whose state consists of named tensors, so that a checkpoint can hold it.

    Registered optimisers, one per file, are constructed from (parameters by name, TrainConfig).
    """

    scale: float = 1.0
    """Factor on the learning rate of `step`, for the log: not 1 if the optimiser has a learning rate of its own."""

    @abstractmethod
    def step(self, lr: float) -> None:
        """Take one step with this learning rate, along the gradients stored in the parameters."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """All tensors that the next step depends on, by name."""

    @abstractmethod
    def load(self, state: dict[str, Tensor]) -> None:
        """Restore a `state`."""
