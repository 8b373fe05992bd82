"""The moving average of the weights, which is what one samples from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """theta_ema <- d theta_ema + (1 - d) theta, with d = min(decay, (1 + n) / (10 + n)) at step n.

    The rising decay forgets the initial weights; after some 9 / (1 - decay) steps it is the constant one of
    the papers.

    Args:
        parameters: that are followed, by name; the average has their type and is on their device.
        decay: in [0, 1).
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float):
        self.decay = decay
        self.names, self.live = list(parameters), list(parameters.values())
        self.average = [p.detach().clone() for p in self.live]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the weights after optimiser step `step` (from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.live], 1 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        """The network holds the averaged weights from now on."""
        torch._foreach_copy_([p.detach() for p in self.live], self.average)

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """The network holds the averaged weights inside the block, and its own again after it, bit for bit."""
        own = [p.detach().clone() for p in self.live]
        self.apply()
        try:
            yield
        finally:
            torch._foreach_copy_([p.detach() for p in self.live], own)

    def state(self) -> dict[str, Tensor]:
        """Averaged weights by the parameters' names."""
        return dict(zip(self.names, self.average, strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`.

        Raises:
            KeyError: a weight has none, or one of another shape.
        """
        for name, average in zip(self.names, self.average, strict=True):
            if name not in state or state[name].shape != average.shape:
                raise KeyError(f"the averaged {name}")
        torch._foreach_copy_(
            self.average, [state[n].to(a.device) for n, a in zip(self.names, self.average, strict=True)]
        )
