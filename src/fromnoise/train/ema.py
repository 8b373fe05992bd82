"""The moving average of the weights, which is what one samples from."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fromnoise.errors import TrainingError
from fromnoise.train.sharding import each, local, parts


class EMA:
    """theta_ema <- d theta_ema + (1 - d) theta, with d = min(decay, (1 + n) / (10 + n)) at step n.

    The rising decay forgets the initial weights; after some 9 / (1 - decay) steps it is the constant one of
    the papers.

    Args:
        parameters: that are followed, by name; the average has their type and is on their device.
        decay: in [0, 1).
        whole: all parameters, whose state it says; those that are not followed stay as they are.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], decay: float, whole: Mapping[str, nn.Parameter] | None = None
    ):
        self.decay = decay
        self.fixed = {name: p for name, p in (whole or {}).items() if name not in parameters}
        self.names, self.live = list(parameters), list(parameters.values())
        self._average = [p.detach().clone() for p in self.live]
        self.largest = torch.zeros((), device=local(self.live[0]).device)
        self._moved = 0

    @property
    def average(self) -> list[Tensor]:
        """In the order of `names`."""
        self.settle()
        return self._average

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the weights after optimiser step `step` (from 1): by `settle`, once they are known to be finite, and
        before they move again. `largest` is their largest magnitude, which a trainer reads with other numbers.
        """
        self._moved, self.largest = step, _largest(self.live)

    @torch.no_grad()
    def settle(self, largest: float | None = None) -> None:
        """Follow what was announced; whoever looks at the average does so first.

        Args:
            largest: the number of that name, where it was read already.

        Raises:
            TrainingError: a weight is not finite; the average is as it was.
        """
        if not self._moved:
            return
        if not math.isfinite(self.largest.item() if largest is None else largest):
            named = zip(self.names, self.live, strict=True)
            bad = next((name for name, p in named if not local(p).isfinite().all()), "a weight of another process")
            raise TrainingError(f"step {self._moved}: the update made {bad} infinite or not a number; lower train.lr; "
                                "the average and what was saved are as before")  # fmt: skip
        decay = min(self.decay, (1 + self._moved) / (10 + self._moved))
        each(torch._foreach_lerp_, parts(self._average), parts(self.live), 1 - decay)
        self._moved = 0

    @torch.no_grad()
    def apply(self) -> None:
        """The network holds the averaged weights from now on."""
        each(torch._foreach_copy_, parts(self.live), parts(self.average))

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """The network holds the averaged weights inside the block, and its own again after it, bit for bit."""
        self.settle()
        own = [p.clone() for p in parts(self.live)]
        self.apply()
        try:
            yield
        finally:
            each(torch._foreach_copy_, parts(self.live), own)

    def state(self) -> dict[str, Tensor]:
        """Averaged weights by the parameters' names, and the others as they are: a whole model."""
        return {name: p.detach() for name, p in self.fixed.items()} | dict(zip(self.names, self.average, strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`; sharded where that is.

        Raises:
            KeyError: a weight has none, or one of another shape.
        """
        for name, average in zip(self.names, self._average, strict=True):
            if name not in state or state[name].shape != average.shape:
                raise KeyError(f"the averaged {name}")
        given = [state[name] for name in self.names]
        each(
            torch._foreach_copy_,
            parts(self._average),
            [new.to(own.device) for new, own in zip(parts(given), parts(self._average), strict=True)],
        )


def _largest(tensors: Sequence[Tensor]) -> Tensor:
    """The largest magnitude, [] on the device of the first; a few operations on all together."""
    by_device: dict[torch.device, list[Tensor]] = {}
    for tensor in parts(tensors):
        by_device.setdefault(tensor.device, []).append(tensor)
    if not by_device:  # of small weights over many processes
        return torch.zeros((), device=local(tensors[0]).device)
    found = [torch.stack(torch._foreach_norm(group, math.inf)).amax().float() for group in by_device.values()]
    return torch.stack([one.to(local(tensors[0]).device) for one in found]).amax() if len(found) > 1 else found[0]
