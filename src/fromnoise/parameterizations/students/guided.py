"""A model with the guidance scale as a condition."""

from dataclasses import dataclass
from typing import Any

from fromnoise.errors import FromNoiseError
from fromnoise.parameterizations.students.base import Student
from fromnoise.registry import register


@register("guided")
@dataclass(frozen=True)
class Guided(Student):
    """x0hat(x_t, t, c, g) = what the teacher's two calls make with the guidance scale g, in one call.

    Source: Meng et al. 2023 (arXiv 2210.03142), section 3.1.

    Args:
        low, high: scales that it was trained with.
    """

    sampler = "unipc"
    is_denoiser = True
    low: float = 1.0
    high: float = 4.0

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise FromNoiseError(f"low must not exceed high, got {self.low:g} and {self.high:g}")

    @property
    def cond(self) -> dict[str, Any]:
        """Without guidance, or as little as it knows."""
        return {"guidance": max(self.low, min(1.0, self.high))}

    def checked(self, scale: float) -> float:
        """The scale itself.

        Raises:
            FromNoiseError: it was not trained with that one.
        """
        if not self.low <= scale <= self.high:
            raise FromNoiseError(f"guidance {scale:g}: this model was distilled for scales from {self.low:g} to "
                                 f"{self.high:g}")  # fmt: skip
        return scale
