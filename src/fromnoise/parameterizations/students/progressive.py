"""A student of progressive distillation: one of its steps replaces two steps of its teacher."""

from dataclasses import dataclass
from typing import Any

from fromnoise.errors import FromNoiseError
from fromnoise.parameterizations.students.base import Student
from fromnoise.registry import register
from fromnoise.schedules.base import Chain, Schedule
from fromnoise.schedules.spacings.base import Spacing


@register("progressive")
@dataclass(frozen=True)
class Progressive(Student):
    """x_s = DDIM's step with x0hat(x_t), between fixed levels: every (of / steps)-th level of a chain of `of` steps.

    Source: Salimans and Ho 2022 (arXiv 2202.00512), algorithm 2.

    Args:
        steps: number of steps that it takes, of / 2^j.
        of: number of steps of the first teacher.
        spacing: spacing of the first teacher's chain.

    Raises:
        FromNoiseError: `of` is not `steps` times a power of two.
    """

    sampler = "ddim"
    steps: int
    of: int
    spacing: str = "uniform"

    def __post_init__(self) -> None:
        halvings = (self.of // self.steps).bit_length() - 1 if 0 < self.steps <= self.of else -1
        if halvings < 0 or self.steps << halvings != self.of:
            raise FromNoiseError(f"steps {self.steps} must be {self.of} halved again and again, and at least 1")

    @property
    def calls(self) -> int:
        return self.steps

    def walks(self, usual: int) -> int:
        return self.steps

    def chain(self, schedule: Schedule, steps: int, spacing: str | Spacing) -> Chain:
        """The levels that the model was distilled on.

        Raises:
            FromNoiseError: another number of steps, or a spacing that is neither the model's nor the sampler's default.
        """
        if steps != self.steps:
            raise FromNoiseError(f"steps {steps}: this model was distilled for {self.steps}, and takes no other number")
        if Spacing.of(spacing) not in (Spacing.of(self.spacing), Spacing.of("uniform")):
            raise FromNoiseError(f"spacing {spacing}: this model uses the levels that it was distilled on, with "
                                 f"spacing {self.spacing}: leave it out")  # fmt: skip
        return every(schedule.steps(self.of, self.spacing), self.of // self.steps)

    def check(self, sampler: Any) -> None:
        super().check(sampler)
        if sampler.eta:
            raise FromNoiseError(f"sampler.eta {sampler.eta:g}: this distilled model's steps have no noise: use eta 0")


def every(chain: Chain, stride: int) -> Chain:
    """Every `stride`-th level of a chain, including the noisiest and the clean one.

    Raises:
        FromNoiseError: the number of steps is not a multiple of `stride`, e.g. because the schedule has too few rows.
    """
    if chain.steps % stride:
        raise FromNoiseError(f"a chain of {chain.steps} steps cannot be cut into strides of {stride}: the "
                             "schedule has too few levels")  # fmt: skip
    return Chain(chain.levels[::stride])
