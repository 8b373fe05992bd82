"""Independent noise for every example, as in DDPM."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fromnoise.couplings.base import Coupling
from fromnoise.registry import register


@register("independent")
@dataclass(frozen=True)
class Independent(Coupling):
    """pi(x_0, eps) = q(x_0) N(eps; 0, I), as in DDPM and in the original flow matching.

    Paths then cross, so the flow loss cannot reach 0: on the straight path its minimum is
    E |eps - x_0 - v|^2 = s^2 / (alpha^2 s^2 + sigma^2) per dimension for data of variance s^2. Source: Ho
    et al. 2020 (arXiv 2006.11239); Lipman et al. 2023 (arXiv 2210.02747).
    """

    many_draws: ClassVar[bool] = True

    def pair(self, x0: Tensor, eps: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        return eps
