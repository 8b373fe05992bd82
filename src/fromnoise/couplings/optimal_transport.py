"""Noise goes to the example that it is closest to, within a group: straighter paths to learn."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fromnoise.couplings.base import Coupling
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register


@register("optimal-transport")
@dataclass(frozen=True)
class OptimalTransport(Coupling):
    """eps_i <- eps_p(i), p = argmin over permutations of a group of sum_i |x_i - eps_p(i)|^2.

    Exact assignment, in float64 on the CPU, within each `group` consecutive places of the global batch. Noise is only
    exchanged, so that both marginals stay as they are; paths cross less, and the floor of the flow loss sinks. In
    one dimension it is the sorted pairing. Source: Tong et al. 2024 (arXiv 2302.00482); Pooladian et al. 2023 (arXiv
    2304.14772).

    A class-conditional model needs noise that is independent of the label, since its samples start from N(0, I).
    Exchanged between all examples, noise would resemble the class that it goes to, so it stays within a label.

    Args:
        group: places that are paired together, at least 2; the cost grows with its cube.
        per_label: whether noise is exchanged only between examples with the same label.

    Raises:
        FromNoiseError: group below 2, or (`check`) scipy is not installed.
    """

    group: int = 64
    per_label: bool = True

    def __post_init__(self) -> None:
        if self.group < 2:
            raise FromNoiseError(f"group must be at least 2, got {self.group}; coupling independent leaves noise as it "
                                 "is")  # fmt: skip

    def check(self) -> None:
        _assignment()

    @torch.no_grad()
    def pair(self, x0: Tensor, eps: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        examples, noise = (value.detach().cpu().double().flatten(1) for value in (x0, eps))
        label = given.get("label") if self.per_label else None
        told = [0] * len(x0) if label is None else _told(label)
        order = torch.arange(len(x0))
        for start in range(0, len(x0), self.group):
            stop = min(start + self.group, len(x0))
            for one in dict.fromkeys(told[start:stop]):
                places = torch.tensor([i for i in range(start, stop) if told[i] == one])
                order[places] = places[_assigned(examples[places], noise[places])]
        return eps[order.to(eps.device)]


def _told(label: Tensor) -> list[Any]:
    """The label of each example, as something that can be compared."""
    return [tuple(row) for row in label.detach().cpu().flatten(1).tolist()] if label.dim() > 1 else label.tolist()


def _assigned(examples: Tensor, noise: Tensor) -> Tensor:
    """Which noise each example gets: |x - e|^2 = |x|^2 + |e|^2 - 2 x.e, of which only the product depends on who meets
    whom."""
    _, columns = _assignment()((examples @ noise.T).numpy(), maximize=True)
    return torch.from_numpy(columns)


def _assignment() -> Any:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise FromNoiseError('coupling optimal-transport needs scipy: pip install "fromnoise[transport]"') from None
    return linear_sum_assignment
