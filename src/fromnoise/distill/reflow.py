"""Reflow: trains a model again on its own pairs of noise and sample, for nearly straight paths."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.distill.base import Distillation
from fromnoise.gaussian import Level
from fromnoise.objectives.simple import Simple
from fromnoise.registry import register
from fromnoise.system import checks


@register("reflow")
@dataclass(frozen=True, eq=False)
class Reflow(Distillation):
    """L = E |F(x_t, t) - target|^2, which is L_simple on the teacher's pairs (eps, x_0 = ODE(eps)).

    The student is a denoiser trained on those pairs. Their paths do not cross, so a few steps of any solver are enough.
    Source: Liu et al. 2023 (arXiv 2209.03003), algorithm 1.

    Args:
        teacher: the model that draws the pairs. `fromnoise train` draws them first and stores them in the run folder;
            in Python, pass `data.reflow_pairs(teacher, n)` as the data, with coupling "given".
        pairs: number of pairs.
        sampler, steps: sampler and number of steps that draw them.

    Raises:
        FromNoiseError: fewer than one pair or step, or the teacher's output is not E[x_0 | x_t].
    """

    draws_pairs: ClassVar[bool] = True
    teacher: Denoiser
    pairs: int = 5000
    sampler: str = "unipc"
    steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("pairs", self.pairs, 1)
        checks.whole("steps", self.steps, 1)

    @property
    def student(self) -> None:  # pyrefly: ignore[bad-override]
        return None

    def loss(
        self, denoiser: Denoiser, x0: Tensor, t: Level, noise: Tensor, cond: Cond | None, step: int, u: Tensor
    ) -> Tensor:
        return Simple()(denoiser, x0, t, noise, cond)["loss"]
