"""The exponential moving average of the weights, with which models sample."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fromnoise.errors import TrainingError
from fromnoise.train.sharding import each, local, parts


class EMA:
    """theta_ema <- d theta_ema + (1 - d) theta, with d = min(decay, (1 + n) / (10 + n)) at step n.

    The rising decay forgets the initial weights; after about 9 / (1 - decay) steps it has reached `decay`, the constant
    of the papers.

    Args:
        parameters: the parameters to average, by name; the averages have their type and device.
        decay: in [0, 1).
        whole: all parameters of the model; those that are not averaged appear in `state` unchanged.
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
        """The averaged weights, in the order of `names`."""
        self.settle()
        return self._average

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Schedule the update for optimiser step `step` (from 1).

        `settle` performs it before the next step, once the weights are known to be finite. The attribute `largest` then
        holds their largest magnitude on the device, which the trainer reads together with other numbers.
        """
        self._moved, self.largest = step, _largest(self.live)

    @torch.no_grad()
    def settle(self, largest: float | None = None) -> None:
        """Perform a scheduled update; this is done before every use of the average.

        Args:
            largest: the value of the attribute `largest`, if it has already been read from the device.

        Raises:
            TrainingError: a weight is not finite; the average is unchanged.
        """
        if not self._moved:
            return
        if not math.isfinite(self.largest.item() if largest is None else largest):
            named = zip(self.names, self.live, strict=True)
            bad = next((name for name, p in named if not local(p).isfinite().all()), "a weight of another process")
            raise TrainingError(f"step {self._moved}: the update made {bad} infinite or NaN; lower train.lr; the "
                                "average and the checkpoints are intact")  # fmt: skip
        decay = min(self.decay, (1 + self._moved) / (10 + self._moved))
        each(torch._foreach_lerp_, parts(self._average), parts(self.live), 1 - decay)
        self._moved = 0

    @torch.no_grad()
    def apply(self) -> None:
        """Replace the network's weights by the averaged ones."""
        each(torch._foreach_copy_, parts(self.live), parts(self.average))

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """Use the averaged weights inside the block, and restore the network's own afterwards, bit for bit."""
        self.settle()
        own = [p.clone() for p in parts(self.live)]
        self.apply()
        try:
            yield
        finally:
            each(torch._foreach_copy_, parts(self.live), own)

    def state(self) -> dict[str, Tensor]:
        """The averaged weights by name, together with the parameters that are not averaged: a complete model."""
        return {name: p.detach() for name, p in self.fixed.items()} | dict(zip(self.names, self.average, strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Load averaged weights from a `state`, which must be sharded like the network.

        Raises:
            KeyError: the average of a weight is missing or has another shape.
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
    """The largest magnitude in all tensors: [], on the device of the first, computed in few operations."""
    by_device: dict[torch.device, list[Tensor]] = {}
    for tensor in parts(tensors):
        by_device.setdefault(tensor.device, []).append(tensor)
    if not by_device:  # small weights over many processes: this one may hold none
        return torch.zeros((), device=local(tensors[0]).device)
    found = [torch.stack(torch._foreach_norm(group, math.inf)).amax().float() for group in by_device.values()]
    return torch.stack([one.to(local(tensors[0]).device) for one in found]).amax() if len(found) > 1 else found[0]
