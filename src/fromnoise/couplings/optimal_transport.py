"""Optimal transport within a group: noise is paired with nearby examples, for straighter paths."""

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

    The assignment is exact, computed in float64 on the CPU within every `group` consecutive positions of the global
    batch. Noise is only permuted, so both marginals stay the same; paths cross less, and the flow loss can get lower.
    In one dimension the pairing is by rank. Source: Tong et al. 2024 (arXiv 2302.00482); Pooladian et al. 2023 (arXiv
    2304.14772).

    A class-conditional model needs noise that is independent of the label, because its samples start from N(0, I).
    Permuted among all examples, the noise would come to resemble the class it is paired with, so by default it is only
    permuted among examples with the same label.

    Args:
        group: number of positions that are paired together, at least 2; the cost grows with its cube.
        per_label: whether noise is permuted only among examples with the same label.

    Raises:
        FromNoiseError: group is below 2, or, in `check`, scipy is not installed.
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
    """The label of each example, as a value that can be compared."""
    return [tuple(row) for row in label.detach().cpu().flatten(1).tolist()] if label.dim() > 1 else label.tolist()


def _assigned(examples: Tensor, noise: Tensor) -> Tensor:
    """The index of the noise for each example.

    The cost is |x - e|^2 = |x|^2 + |e|^2 - 2 x.e, of which only the product depends on the pairing.
    """
    _, columns = _assignment()((examples @ noise.T).numpy(), maximize=True)
    return torch.from_numpy(columns)


def _assignment() -> Any:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise FromNoiseError('coupling optimal-transport needs scipy: pip install "fromnoise[transport]"') from None
    return linear_sum_assignment
