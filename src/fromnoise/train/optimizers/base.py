"""What an optimiser is to the trainer."""

from abc import ABC, abstractmethod

from torch import Tensor


class Optimizer(ABC):
    """Descends the gradients of a network; its state is tensors with names, so that a checkpoint can hold it.

    Registered ones are made from (parameters by name, TrainConfig), one in a file.
    """

    scale: float = 1.0
    """What the learning rate of `step` is multiplied by, for the log: not 1 where an optimiser has one of its own."""

    @abstractmethod
    def step(self, lr: float) -> None:
        """One step with this learning rate, on the gradients that the parameters hold."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next step depends on, by name."""

    @abstractmethod
    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
