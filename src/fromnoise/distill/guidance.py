"""Guidance distillation: one call replaces the two of classifier-free guidance, with the scale as a condition."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fromnoise.denoise import Cond, Denoiser
from fromnoise.distill.base import Distillation, squared
from fromnoise.distill.levels import truncated_snr
from fromnoise.errors import FromNoiseError
from fromnoise.gaussian import Level, diffuse, like
from fromnoise.guidance.base import is_guided
from fromnoise.parameterizations.students.guided import Guided
from fromnoise.registry import register


@register("guidance")
@dataclass(frozen=True, eq=False)
class Guidance(Distillation):
    """L = max(SNR_t, 1) |x0_null + g (x0_c - x0_null) - x0hat(x_t, c, g)|^2 / D, g uniform in [low, high].

    x0_c and x0_null are the teacher's predictions with and without the condition. Source: Meng et al. 2023 (arXiv
    2210.03142), section 3.1, whose w is g - 1.

    Args:
        teacher: a model trained with its conditions dropped now and then, and without guidance around it.
        low, high: range of the guidance scales.

    Raises:
        FromNoiseError: the teacher is already guided, or has no null condition.
    """

    uniforms: ClassVar[int] = 1
    numbers: ClassVar[tuple[str, ...]] = ("guidance",)
    teacher: Denoiser
    low: float = 1.0
    high: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        Guided(self.low, self.high)
        if is_guided(self.teacher):
            raise FromNoiseError("teacher: it is guided already, but the student must learn every scale: give it "
                                 "without guidance (distill.guidance=1)")  # fmt: skip
        if not self.teacher.null_cond:
            raise FromNoiseError("teacher: guidance needs a model that was trained with its conditions dropped now and "
                                 "then (train.label_dropout, condition_dropout in Python)")  # fmt: skip

    @property
    def student(self) -> Guided:  # pyrefly: ignore[bad-override]
        return Guided(self.low, self.high)

    def loss(
        self, denoiser: Denoiser, x0: Tensor, t: Level, noise: Tensor, cond: Cond | None, step: int, u: Tensor
    ) -> Tensor:
        if cond is None:
            raise FromNoiseError("data: guidance needs a condition, and the examples have none")
        scale = self.low + (self.high - self.low) * u[:, 0]
        x_t = diffuse(x0, noise, t)
        plain = self.taught(x_t, t, cond).x0
        none = cond | {k: v.to(x_t.device).expand(len(x_t), *v.shape) for k, v in self.teacher.null_cond.items()}
        free = self.taught(x_t, t, none).x0
        target = free + like(scale, free) * (plain - free)
        own = denoiser(x_t, t, cond | {"guidance": scale.to(x_t)}).x0
        square = squared(own - target)
        return like(truncated_snr(t), square) * square
