"""Reflow: a model is trained anew on its own pairs of noise and sample, whose paths are nearly straight."""

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
    """L = E |F(x_t, t) - target|^2 as L_simple, x_0 being what the teacher makes of eps: pairs (eps, x_0 = ODE(eps)).

    The student is a denoiser of those pairs, which do not cross, so that few steps of any solver do, and more change
    little. Source: Liu et al. 2023 (arXiv 2209.03003), algorithm 1.

    Args:
        teacher: whose pairs: `fromnoise train` draws them first and keeps them in the run; in Python `data` is
            `data.reflow_pairs(teacher, n)`, with coupling "given".
        pairs: how many.
        sampler, steps: that draw them.

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
