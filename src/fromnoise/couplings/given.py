"""The noise comes with the example, as its condition `noise`: pairs that a model drew, for reflow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fromnoise.couplings.base import Coupling
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register


@register("given")
@dataclass(frozen=True)
class Given(Coupling):
    """pi(x_0, eps) is that of the data: an example is (x_0, {"noise": eps}), eps of the shape of x_0.

    The network does not receive the noise. `data.reflow_pairs` draws such examples by a model (Liu et al. 2023, arXiv
    2209.03003); any others do as well, if their noise is N(0, I) all together.

    Raises:
        FromNoiseError: `pair` is given no noise, or one of another shape.
    """

    takes: ClassVar[tuple[str, ...]] = ("noise",)

    def pair(self, x0: Tensor, eps: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        if "noise" not in given:
            raise FromNoiseError("coupling given: the examples bring no noise: give (x, {'noise': eps}), such as "
                                 "data.reflow_pairs, or take another coupling")  # fmt: skip
        noise = given["noise"]
        if noise.shape != x0.shape:
            raise FromNoiseError(f"coupling given: noise of {_words(noise)} for examples of {_words(x0)}: give each "
                                 "example noise of its own shape")  # fmt: skip
        return noise.to(eps)


def _words(x: Tensor) -> str:
    return "x".join(map(str, x.shape[1:])) or "one number"
