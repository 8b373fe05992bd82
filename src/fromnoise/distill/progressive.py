"""Progressive distillation: one step of the student replaces two of its teacher, repeatedly."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.distill.base import Distillation, squared
from fromnoise.distill.levels import above, euler, truncated_snr, two_steps
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, diffuse, like
from fromnoise.parameterizations import students
from fromnoise.parameterizations.students import progressive as halved
from fromnoise.registry import register
from fromnoise.schedules.base import Chain, Schedule


@register("progressive")
@dataclass(frozen=True, eq=False)
class Progressive(Distillation):
    """L = max(SNR_t, 1) |x~ - x0hat(x_t)|^2 / D, one DDIM step with x~ replacing two of the teacher.

    t is a level of the student's chain, which has every second level of its teacher's. To halve the steps again, the
    student becomes the next teacher. Source: Salimans and Ho 2022 (arXiv 2202.00512), algorithm 2 and section 4.

    Args:
        teacher: a denoiser, or the student of the previous halving.
        steps: number of steps of the student; half of the teacher's if the teacher is a student.
        of: number of steps of the first teacher. Default: twice `steps`; if the teacher is a student, its own `of`.
        spacing: spacing of the first teacher's steps; if the teacher is a student, its own is used.

    Raises:
        FromNoiseError: the teacher is a student of another kind, or does not take twice as many steps.
    """

    asks: ClassVar[bool] = False  # a teacher that is a progressive student is used too
    teacher: Denoiser
    steps: int = 4
    of: int | None = None
    spacing: str = "uniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        before = self.teacher.student
        if before is None or before.is_denoiser:
            return
        if not isinstance(before, halved.Progressive):
            raise FromNoiseError(f"teacher: {before.what}: it cannot be halved")
        if before.steps != 2 * self.steps:
            raise FromNoiseError(f"teacher: it takes {before.steps} steps, so its student takes "
                                 f"{before.steps // 2 or 'none'}, not {self.steps}")  # fmt: skip

    @cached_property
    def student(self) -> halved.Progressive:  # pyrefly: ignore[bad-override]
        before = self.teacher.student
        if isinstance(before, halved.Progressive):
            return halved.Progressive(self.steps, before.of, before.spacing)
        return students.build({"name": "progressive", "steps": self.steps, "of": self.of or 2 * self.steps,
                               "spacing": self.spacing})  # fmt: skip

    def check(self, denoiser: Denoiser) -> None:
        super().check(denoiser)
        self.chain(denoiser.schedule)

    def chain(self, schedule: Schedule) -> Chain:
        """The teacher's chain, with twice as many steps as the student's.

        Raises:
            FromNoiseError: the schedule has too few levels.
        """
        own = self.student
        fine = schedule.steps(own.of, own.spacing)
        if own.of == own.steps:
            raise FromNoiseError(f"of {own.of}: must be at least twice the student's {own.steps} steps")
        return halved.every(fine, own.of // (2 * own.steps))

    def loss(
        self, denoiser: Denoiser, x0: Tensor, t: Level, noise: Tensor, cond: Cond | None, step: int, u: Tensor
    ) -> Tensor:
        fine = self.chain(denoiser.schedule)
        place = 2 * above(t, halved.every(fine, 2))
        t, middle, s = fine.levels[place], fine.levels[place + 1], fine.levels[place + 2]
        x_t = diffuse(x0, noise, t)
        first = self.taught(x_t, t, cond)
        target = two_steps(first, self.taught(euler(first, middle), middle, cond), t, middle, s)
        square = squared(denoiser(x_t, t, cond).x0 - target)
        return like(truncated_snr(t), square) * square
