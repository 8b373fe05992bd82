"""What is trained, and what an example costs: the part of training that knows what the network is for."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from fromnoise.hardware import Hardware
from fromnoise.train.distributed import Processes, raw

Drawn = dict[str, Tensor]
"""Everything random of some examples, and what is known of them: each entry [B, ...], on the CPU."""


class Task(ABC):
    """A network and its loss; the trainer does the rest.

    Attributes:
        network: what is trained, in float32; while the trainer runs, the wrapper that averages its gradients.
    """

    network: nn.Module

    def weights(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""
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

    @abstractmethod
    def draw(self, x0: Tensor, labels: Tensor, places: range, step: int, batch_size: int) -> Drawn:
        """The draws of a share of step `step`: functions of (seed, step, place in the global batch) alone."""

    @abstractmethod
    def losses(self, x0: Tensor, drawn: Drawn, hardware: Hardware) -> Tensor:
        """What is minimised, for each example, [B]; called in the hardware's number format.

        Args:
            x0: images in [-1, 1] or latents, [B, C, H, W], on the CPU.
            drawn: the rows of `draw` for these examples.
            hardware: where to compute.
        """

    def finish(self, step: int, places: range, batch_size: int, processes: Processes) -> None:  # noqa: B027
        """Called once a step on every process, after the gradients: for what learns from the losses."""

    def figures(self) -> dict[str, Any]:
        """Of the last step, beside the loss: for the metrics file."""
        return {}
