"""What is trained, and what an example costs: the part of training that knows what the network is for."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from fromnoise.data.examples import Conditions, Examples
from fromnoise.train.by_level import Seen
from fromnoise.train.distributed import Processes, raw

Drawn = dict[str, Tensor]
"""Everything random of some examples, and what is known of them: each entry [B, ...]."""


class Task(ABC):
    """A network and its loss; the trainer does the rest.

    Attributes:
        network: what is trained, in float32; while the trainer runs, the wrapper that averages its gradients.
        on_cpu: entries of `draw` that stay on the CPU, such as the times of levels, which are float64.
    """

    network: nn.Module
    on_cpu: ClassVar[frozenset[str]] = frozenset()

    @property
    def second_order(self) -> bool:
        """Whether training differentiates the network twice, for which all its weights must be there."""
        return False

    @property
    def model(self) -> nn.Module:
        """What a person gets in the end: the network, or what is made of it."""
        return raw(self.network)

    def weights(self) -> dict[str, nn.Parameter]:
        """The parameters, by name; those that require no gradient stay as they are."""
        return dict(self.network.named_parameters())

    def extra_parameters(self) -> list[nn.Parameter]:
        """Those of them that are not the network's own, whose gradients nobody else averages over the processes."""
        return []

    def train(self) -> None:
        """Into training mode."""
        self.network.train()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint holds of it, a file each: "model", and whatever else must come back."""
        return {"model": dict(raw(self.network).state_dict())}

    def load(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        """The inverse of `tensors`."""
        raw(self.network).load_state_dict(tensors["model"])

    def describe(self) -> dict[str, Any]:
        """{file stem: JSON value} that says what the weights of a checkpoint are, so that `fromnoise.load` finds it."""
        return {}

    def check_parts(self, size: int) -> None:  # noqa: B027  most losses are of each example alone
        """Before training: whether losses can be computed of so many examples of consecutive places at a time.

        Raises:
            FromNoiseError: they cannot; with the way out.
        """

    def together(self, batch_size: int) -> int:
        """How many consecutive held-out examples share a loss; 1 where each has its own."""
        return 1

    @abstractmethod
    def draw(self, shape: tuple[int, ...], conditions: Conditions, places: range, step: int, batch_size: int) -> Drawn:
        """The draws of a share of step `step`: functions of (seed, step, place in the global batch) and of the
        examples' conditions alone. They may be asked for ahead of their step, in another thread.

        Args:
            shape: of one example.
            conditions: of the examples, each [B, ...].
            places: of the examples in the global batch.
            step: from 1; 0 is validation, where places count the held-out examples.
            batch_size: of the global batch.
        """

    @abstractmethod
    def losses(self, x0: Tensor, drawn: Drawn) -> dict[str, Tensor]:
        """Values of each example, [B]; "loss" is what is minimised, all go into the log.

        Args:
            x0: clean examples, [B, ...], on the device.
            drawn: the rows of `draw` for these examples, on the device but for those `on_cpu`.
        """

    def seen(self) -> Seen | None:
        """The levels and losses of this step's examples, once; None where there are no levels of noise."""
        return None

    def finish(self, step: int, places: range, batch_size: int, processes: Processes) -> None:  # noqa: B027
        """Called once a step on every process, after the gradients: for what learns from the losses."""

    def picture(self, source: Examples) -> tuple[Tensor, int | None] | None:
        """A look in passing, with the weights as they are: uint8 images [N, C, H, W] and how many stand in a row."""
        return None
