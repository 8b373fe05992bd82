"""Base class of distillations: objectives with a target from a teacher or from the model at a cleaner level."""

import copy
import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fromnoise import nn as networks
from fromnoise import registry, times
from fromnoise.denoise import Cond, Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level
from fromnoise.guidance.base import Wrapper
from fromnoise.nn.conditioning import numbers_of
from fromnoise.objectives.base import Objective
from fromnoise.parameterizations.prediction import Prediction
from fromnoise.parameterizations.students.base import Student
from fromnoise.schedules.base import Chain, Schedule
from fromnoise.system import checks
from fromnoise.times.base import TimeSampling


@dataclass(frozen=True, eq=False)
class Distillation(Objective):
    """(student, x_0, t, eps) -> the loss of each example. A distillation is an Objective, and `fit` takes it as one.

    Attributes:
        teacher: a Denoiser, guided or not, which is not changed; None to train from data alone.

    Raises:
        FromNoiseError: an option is not a number, the teacher is not a Denoiser, or its output is not the E[x_0 | x_t]
            that this distillation needs.
    """

    needs_teacher: ClassVar[bool] = True
    """Whether a teacher is required."""

    draws_pairs: ClassVar[bool] = False
    """Whether it trains on `pairs` pairs that the teacher draws beforehand, with `sampler` in `steps` steps."""

    uniforms: ClassVar[int] = 0
    """Additional uniform random numbers needed for each example."""

    numbers: ClassVar[tuple[str, ...]] = ()
    """Conditions of one number each that the student's network must take; see `nn.conditioning`."""

    asks: ClassVar[bool] = True
    """Whether it needs E[x_0 | x_t] from the teacher, and not only its weights to start from."""

    teacher: Denoiser | None

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if type(option.default) is int:
                checks.whole(option.name, value)
            elif type(option.default) is float and not (isinstance(value, int | float) and math.isfinite(value)):
                raise FromNoiseError(f"{option.name} must be a finite number, got {checks.shown(value)}")
        if self.teacher is None and not self.needs_teacher:
            return
        checks.instance("teacher", self.teacher, Denoiser, "fn.load(folder)")
        kind = self.teacher.student if self.teacher is not None and self.asks else None
        if kind is not None and not kind.is_denoiser:
            raise FromNoiseError(f"teacher: {kind.what}: take its own teacher")

    @property
    @abstractmethod
    def student(self) -> Student | None:
        """The meaning of the trained model's output; None if it is E[x_0 | x_t]."""

    @property
    def times(self) -> TimeSampling:
        """The default time sampling of training."""
        return times.build("uniform")

    def student_of(self, teacher: Denoiser) -> Denoiser:
        """A student that starts with the teacher's weights, plus new ones for additional conditions.

        The weights of a teacher in half precision become float32, in which they can be trained.

        Args:
            teacher: the teacher; guidance around it is removed.

        Raises:
            FromNoiseError: the network is of a class of your own and does not take the additional conditions.
        """
        while isinstance(teacher, Wrapper):
            teacher = teacher.inner
        network = self._network_of(teacher.network, teacher.schedule)
        if any(own.dtype in (torch.bfloat16, torch.float16) for own in network.parameters()):
            network = network.float()
        made = Denoiser(network, teacher.schedule, teacher.parameterization, teacher.variance, teacher.shape,
                        teacher.class_names, teacher.codec, teacher.low, teacher.text)  # fmt: skip
        made.null, made.student = dict(teacher.null), self.student
        return made

    def check(self, denoiser: Denoiser) -> None:
        """Check, before training, that the model can be a student of this teacher.

        Raises:
            FromNoiseError: shape, schedule, number of classes or autoencoder differ from the teacher's, the network
                does not take the conditions in `numbers`, or the schedule is learned.
        """
        name = getattr(type(self), "registered_name", type(self).__name__)
        if isinstance(denoiser.schedule, nn.Module):
            raise FromNoiseError(f"distillation {name} cannot train a learned schedule: take another")
        missing = [number for number in self.numbers if number not in numbers_of(denoiser.network)]
        if missing:
            raise FromNoiseError(f"distillation {name}: the network must take {' and '.join(missing)}, a number [B]: "
                                 f"make it with numbers={missing}, or give your forward the argument "
                                 f"{missing[0]}=None")  # fmt: skip
        if self.teacher is None:
            return
        for what, own, other in (
            ("examples of shape", denoiser.shape, self.teacher.shape or denoiser.shape),
            ("schedule", _spec(denoiser.schedule), _spec(self.teacher.schedule)),
            ("number of classes", denoiser.classes, self.teacher.classes),
            ("autoencoder", _sha256(denoiser), _sha256(self.teacher)),
        ):
            if own != other:
                raise FromNoiseError(f"teacher: its {what}: {_words(other)}, and the student's: {_words(own)}; they "
                                     "must be the same")  # fmt: skip

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        t: Level,
        noise: Tensor,
        cond: Cond | None = None,
        chain: Chain | None = None,
        *,
        step: int = 1,
        u: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The loss of each example, [B], as "loss".

        Args:
            denoiser: the student.
            x0: clean data, [B, ...].
            t: levels, [B].
            noise: standard normal, of the shape of x0.
            cond: conditions, each [B, ...].
            chain: not used.
            step: number of the training step, from 1; 0 in validation.
            u: the additional uniform numbers, [B, uniforms]; default: 0.5.
        """
        halves = torch.full((len(x0), self.uniforms), 0.5, dtype=torch.float64)
        return {"loss": self.loss(denoiser, x0, t, noise, cond, step, halves if u is None else u.double())}

    @abstractmethod
    def loss(
        self, denoiser: Denoiser, x0: Tensor, t: Level, noise: Tensor, cond: Cond | None, step: int, u: Tensor
    ) -> Tensor:
        """The loss of each example, [B]; see `__call__` for the arguments. u is float64."""

    def taught(self, x_t: Tensor, t: Level, cond: Cond | None) -> Prediction:
        """The teacher's prediction, without gradients."""
        teacher = self.teacher
        assert teacher is not None
        if teacher.device != x_t.device:
            teacher.to(x_t.device)
        with torch.no_grad(), teacher.evaluating():
            return teacher(x_t, t, cond)

    @classmethod
    def options(cls, spec: Mapping[str, Any], schedule: Schedule) -> dict[str, Any]:
        """Network options that change from a teacher's network, described by `spec`, to the student's."""
        own = [*spec.get("numbers", ())]
        missing = [number for number in cls.numbers if number not in own]
        return {"numbers": [*own, *missing]} if missing else {}

    def _network_of(self, network: nn.Module, schedule: Schedule) -> nn.Module:
        missing = [number for number in self.numbers if number not in numbers_of(network)]
        if not registry.is_entry(type(network)):
            if not missing:
                return copy.deepcopy(network)
            raise FromNoiseError(f"the network {type(network).__name__} takes no {' and no '.join(missing)}: make a "
                                 "student of your own around one that does")  # fmt: skip
        spec = registry.spec(network)
        changes = self.options(spec, schedule)
        if not changes:
            return copy.deepcopy(network)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # all students of a teacher start with the same weights
            made = networks.build(spec | changes)
        own = made.state_dict()
        made.load_state_dict(own | network.state_dict())
        return made.to(next(network.parameters()))


def squared(error: Tensor) -> Tensor:
    """|e|^2 / D: [B, ...] -> [B]."""
    return error.square().flatten(1).mean(1)


def pseudo_huber(error: Tensor, c: float) -> Tensor:
    """sqrt(|e|^2 + c^2) - c, [B, ...] -> [B]; |e|^2 / D if c is 0 (arXiv 2310.14189, eq. 7)."""
    if c == 0:
        return squared(error)
    square = error.square().flatten(1).sum(1)
    return square / (torch.sqrt(square + c**2) + c)  # equal, but without cancellation


def _spec(schedule: Any) -> Any:
    return registry.spec(schedule) if registry.is_entry(type(schedule)) else schedule


def _sha256(denoiser: Denoiser) -> str | None:
    return getattr(denoiser.codec, "sha256", None)


def _words(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
