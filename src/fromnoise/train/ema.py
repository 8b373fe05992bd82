"""The moving average of the weights, which is what one samples from."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """theta_ema <- d theta_ema + (1 - d) theta, with d = min(decay, (1 + n) / (10 + n)) at step n.

    The rising decay forgets the initial weights; after some 9 / (1 - decay) steps it is the constant one of
    the papers.

    Args:
        network: whose parameters are followed; kept in float32 on the same device.
        decay: in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float):
        self.decay = decay
        self.names = [name for name, _ in network.named_parameters()]
        self.live = [p for _, p in network.named_parameters()]
        self.average = [p.detach().clone() for p in self.live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the weights after optimiser step `step` (from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.live], 1 - decay)

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """The network holds the averaged weights inside the block, and its own again after it, bit for bit."""
        own = [p.detach().clone() for p in self.live]
        torch._foreach_copy_([p.detach() for p in self.live], self.average)
        try:
            yield
        finally:
            torch._foreach_copy_([p.detach() for p in self.live], own)

    def state(self) -> dict[str, Tensor]:
        """Averaged weights by the parameters' names."""
        return dict(zip(self.names, self.average, strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        torch._foreach_copy_(self.average, [state[name].to(self.average[0].device) for name in self.names])
