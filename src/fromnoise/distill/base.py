"""What a distillation is: an objective whose target a teacher gives, or the model itself at a cleaner level."""

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
    """(student, x_0, t, eps) -> the loss of each example, as every objective; `fit` takes it as one.

    Attributes:
        teacher: a Denoiser, guided or not, that stays as it is; None where data alone teach.

    Raises:
        FromNoiseError: an option is no number, the teacher no Denoiser, or its output is not E[x_0 | x_t], for which it
            is asked.
    """

    needs_teacher: ClassVar[bool] = True
    """Whether it can do nothing without one."""

    draws_pairs: ClassVar[bool] = False
    """Whether it learns from pairs that the teacher draws beforehand, `pairs` by `sampler` in `steps`."""

    uniforms: ClassVar[int] = 0
    """Further uniform numbers that one example needs."""

    numbers: ClassVar[tuple[str, ...]] = ()
    """Conditions, one number each, that the student's network must take: see `nn.conditioning`."""

    asks: ClassVar[bool] = True
    """Whether its teacher is asked for E[x_0 | x_t], and not only where the student starts."""

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
        """What the output of the model means that is trained; None where it stays E[x_0 | x_t]."""

    @property
    def times(self) -> TimeSampling:
        """Which levels training looks at by default."""
        return times.build("uniform")

    def student_of(self, teacher: Denoiser) -> Denoiser:
        """A model that starts as the teacher: its weights, and fresh ones where it takes further numbers.

        Those of a teacher in half precision are float32, in which it can be trained.

        Args:
            teacher: its guidance, which this way may teach, is left out.

        Raises:
            FromNoiseError: the network is of your own class and takes no such number.
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
        """Before training: that the model can be such a student of this teacher.

        Raises:
            FromNoiseError: another shape, schedule, number of classes or autoencoder than the teacher's; a network that
                does not take the numbers of this way; or a learned schedule.
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
        """As every objective's, and:

        Args:
            step: of training, from 1; 0 is validation.
            u: the further uniform numbers, [B, uniforms]; halves where none are given.
        """
        halves = torch.full((len(x0), self.uniforms), 0.5, dtype=torch.float64)
        return {"loss": self.loss(denoiser, x0, t, noise, cond, step, halves if u is None else u.double())}

    @abstractmethod
    def loss(
        self, denoiser: Denoiser, x0: Tensor, t: Level, noise: Tensor, cond: Cond | None, step: int, u: Tensor
    ) -> Tensor:
        """Of each example, [B]; the arguments as in `__call__`, u float64."""

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
        """Those in which a student's network differs from its teacher's, of that description and on these levels."""
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
            torch.manual_seed(0)  # every student of a teacher starts alike
            made = networks.build(spec | changes)
        own = made.state_dict()
        made.load_state_dict(own | network.state_dict())
        return made.to(next(network.parameters()))


def squared(error: Tensor) -> Tensor:
    """|e|^2 / D: [B, ...] -> [B]."""
    return error.square().flatten(1).mean(1)


def pseudo_huber(error: Tensor, c: float) -> Tensor:
    """sqrt(|e|^2 + c^2) - c, [B, ...] -> [B]; |e|^2 / D where c is 0 (arXiv 2310.14189, eq. 7)."""
    if c == 0:
        return squared(error)
    square = error.square().flatten(1).sum(1)
    return square / (torch.sqrt(square + c**2) + c)  # the same, without the difference


def _spec(schedule: Any) -> Any:
    return registry.spec(schedule) if registry.is_entry(type(schedule)) else schedule


def _sha256(denoiser: Denoiser) -> str | None:
    return getattr(denoiser.codec, "sha256", None)


def _words(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
