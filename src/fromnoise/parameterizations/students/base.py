"""Base class of students: what the output of a distilled model means."""

from abc import ABC
from typing import Any, ClassVar

from fromnoise.errors import FromNoiseError
from fromnoise.schedules.base import Chain, Schedule
from fromnoise.schedules.spacings.base import Spacing


class Student(ABC):
    """The meaning of a distilled model's output, and how to sample from it.

    It is the `student` attribute of a Denoiser, and model files store it. Registered students are frozen dataclasses,
    one per file.
    """

    sampler: ClassVar[str]
    """Name of the sampler that the model was distilled for."""

    is_denoiser: ClassVar[bool] = False
    """Whether x0 is still E[x_0 | x_t], so that all samplers, likelihoods and edits apply."""

    @property
    def calls(self) -> int:
        """Default number of steps, each with one network call."""
        return 1

    @property
    def cond(self) -> dict[str, Any]:
        """Default values of the conditions that distillation added to the network, by name."""
        return {}

    def chain(self, schedule: Schedule, steps: int, spacing: str | Spacing) -> Chain:
        """The levels to sample with `steps` steps.

        Raises:
            FromNoiseError: the model cannot be sampled with this number of steps.
        """
        return schedule.steps(steps, spacing)

    def walks(self, usual: int) -> int:
        """The number of steps to take if the recipe says `usual`."""
        return usual

    def check(self, sampler: Any) -> None:
        """Check that this sampler can sample the model.

        Raises:
            FromNoiseError: it cannot; the message names the sampler that can.
        """
        name = getattr(type(sampler), "registered_name", type(sampler).__name__)
        if not self.is_denoiser and name != self.sampler:
            raise FromNoiseError(f"sampler {name}: {self.what}: use sampler {self.sampler}")

    @property
    def what(self) -> str:
        """The reason given in messages that refuse the model."""
        return "the output of this distilled model is not E[x_0 | x_t], which other samplers need"


def insist_on_denoiser(denoiser: Any, what: str) -> None:
    """Check that a model's x0 is E[x_0 | x_t].

    Args:
        denoiser: a Denoiser.
        what: what needs it, the beginning of the message.

    Raises:
        FromNoiseError: the model is a student whose output is something else.
    """
    student = denoiser.student
    if student is not None and not student.is_denoiser:
        raise FromNoiseError(f"{what}: {student.what}: use the teacher")
