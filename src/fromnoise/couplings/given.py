"""The noise comes with each example, as its condition `noise`: pairs drawn by a model, for reflow."""

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
    """pi(x_0, eps) is given by the data: an example is (x_0, {"noise": eps}), with eps of the shape of x_0.

    The network does not get the noise. `data.reflow_pairs` draws such examples with a model (Liu et al. 2023, arXiv
    2209.03003). Other pairs can be used too, as long as the noise of the whole data set is distributed as N(0, I).

    Raises:
        FromNoiseError: in `pair`, if the examples have no noise, or noise of another shape.
    """

    takes: ClassVar[tuple[str, ...]] = ("noise",)

    def pair(self, x0: Tensor, eps: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        if "noise" not in given:
            raise FromNoiseError("coupling given: the examples have no noise: give (x, {'noise': eps}), such as "
                                 "data.reflow_pairs, or take another coupling")  # fmt: skip
        noise = given["noise"]
        if noise.shape != x0.shape:
            raise FromNoiseError(f"coupling given: noise of {_words(noise)} for examples of {_words(x0)}: give each "
                                 "example noise of its own shape")  # fmt: skip
        return noise.to(eps)


def _words(x: Tensor) -> str:
    return "x".join(map(str, x.shape[1:])) or "one number"
