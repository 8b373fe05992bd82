"""The base class of training tasks: a network, its random numbers and its loss."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from fromnoise.data.examples import Conditions, Examples
from fromnoise.train.by_level import Seen
from fromnoise.train.distributed import Processes, raw

Drawn = dict[str, Tensor]
"""The random numbers and the conditions of some examples, by name: each [B, ...]."""


class Task(ABC):
    """A network and its loss; the trainer does everything else.

    Attributes:
        network: the network to train, in float32; while the trainer runs, the wrapper that averages its gradients.
        on_cpu: names of the entries of `draw` that stay on the CPU, such as the float64 numbers that determine times.
    """

    network: nn.Module
    on_cpu: ClassVar[frozenset[str]] = frozenset()

    @property
    def second_order(self) -> bool:
        """Whether training differentiates the network twice, so that its weights cannot be sharded."""
        return False

    @property
    def model(self) -> nn.Module:
        """The model that training produces: the network, or an object that contains it."""
        return raw(self.network)

    def weights(self) -> dict[str, nn.Parameter]:
        """All parameters by name; those that require no gradient are not trained."""
        return dict(self.network.named_parameters())

    def extra_parameters(self) -> list[nn.Parameter]:
        """The parameters outside the network, whose gradients must be averaged over the processes separately."""
        return []

    def train(self) -> None:
        """Switch to training mode."""
        self.network.train()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """The tensors to save in a checkpoint, by file and name: "model", and any further state."""
        return {"model": dict(raw(self.network).state_dict())}

    def load(self, tensors: dict[str, dict[str, Tensor]]) -> None:
        """Restore the result of `tensors`."""
        raw(self.network).load_state_dict(tensors["model"])

    def describe(self) -> dict[str, Any]:
        """{file stem: JSON value}: the descriptions from which `fromnoise.load` rebuilds the model of a checkpoint."""
        return {}

    def check_parts(self, size: int) -> None:  # noqa: B027  most losses are of each example alone
        """Check, before training, that the loss can be computed for parts of this many consecutive examples.

        Raises:
            FromNoiseError: it cannot; the message says what to change.
        """

    def together(self, batch_size: int) -> int:
        """How many consecutive held-out examples must be evaluated together; 1 if the loss is of single examples."""
        return 1

    @abstractmethod
    def draw(self, shape: tuple[int, ...], conditions: Conditions, places: range, step: int, batch_size: int) -> Drawn:
        """The random numbers and conditions for a share of a step's batch.

        They must be functions of only the seed, the step, the positions and the conditions, because they may be
        requested ahead of their step, in another thread.

        Args:
            shape: shape of one example.
            conditions: conditions of the examples, each [B, ...].
            places: positions of the examples in the global batch.
            step: the step, from 1; 0 means validation, where `places` are the numbers of the held-out examples.
            batch_size: size of the global batch.
        """

    @abstractmethod
    def losses(self, x0: Tensor, drawn: Drawn) -> dict[str, Tensor]:
        """Values by name, each [B]: "loss" is minimised, and all are logged.

        Args:
            x0: clean examples, [B, ...], on the device.
            drawn: the rows of `draw` for these examples, on the device except for those in `on_cpu`.
        """

    def seen(self) -> Seen | None:
        """The noise levels and losses of this step's examples, which are then forgotten; None without noise levels."""
        return None

    def finish(self, step: int, places: range, batch_size: int, processes: Processes) -> None:  # noqa: B027
        """Called once per step in every process, after the gradients, to update state that adapts to the losses."""

    def picture(self, source: Examples) -> tuple[Tensor, int | None] | None:
        """A preview with the current weights: (uint8 images [N, C, H, W], images per row or None); None for none."""
        return None
