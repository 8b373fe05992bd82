"""What a student is."""

from abc import ABC
from typing import Any, ClassVar

from fromnoise.errors import FromNoiseError
from fromnoise.schedules.base import Chain, Schedule
from fromnoise.schedules.spacings.base import Spacing


class Student(ABC):
    """What a distilled denoiser's output means; a Denoiser holds it, and files name it.

    Registered ones are frozen dataclasses, one in a file.
    """

    sampler: ClassVar[str]
    """The name of the sampler that draws it."""

    is_denoiser: ClassVar[bool] = False
    """Whether its x0 still is E[x_0 | x_t], so that every sampler, likelihood and edit holds for it too."""

    @property
    def calls(self) -> int:
        """Steps by default."""
        return 1

    @property
    def cond(self) -> dict[str, Any]:
        """Numbers that its network is given where nobody says otherwise, by name."""
        return {}

    def chain(self, schedule: Schedule, steps: int, spacing: str | Spacing) -> Chain:
        """The levels of a walk of so many steps.

        Raises:
            FromNoiseError: it cannot walk so many.
        """
        return schedule.steps(steps, spacing)

    def walks(self, usual: int) -> int:
        """The steps that it walks where its recipe says `usual`."""
        return usual

    def check(self, sampler: Any) -> None:
        """That this sampler can draw it.

        Raises:
            FromNoiseError: it cannot; with the one that can.
        """
        name = getattr(type(sampler), "registered_name", type(sampler).__name__)
        if not self.is_denoiser and name != self.sampler:
            raise FromNoiseError(f"sampler {name}: {self.what}: use sampler {self.sampler}")

    @property
    def what(self) -> str:
        """Said where something is refused."""
        return "the output of this distilled model is not E[x_0 | x_t], which other samplers need"


def insist_on_denoiser(denoiser: Any, what: str) -> None:
    """That a model's x0 is E[x_0 | x_t].

    Args:
        denoiser: a Denoiser.
        what: needs it.

    Raises:
        FromNoiseError: it is a student whose output is something else.
    """
    student = denoiser.student
    if student is not None and not student.is_denoiser:
        raise FromNoiseError(f"{what}: {student.what}: use the teacher")
