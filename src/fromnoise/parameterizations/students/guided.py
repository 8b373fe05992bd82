"""A model distilled from guided predictions, with the guidance scale as a condition."""

from dataclasses import dataclass
from typing import Any

from fromnoise.errors import FromNoiseError
from fromnoise.parameterizations.students.base import Student
from fromnoise.registry import register


@register("guided")
@dataclass(frozen=True)
class Guided(Student):
    """x0hat(x_t, t, c, g) = the guided prediction of the teacher with guidance scale g, in one call instead of two.

    Source: Meng et al. 2023 (arXiv 2210.03142), section 3.1.

    Args:
        low, high: range of the guidance scales in training.
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
        """Guidance off (scale 1), or the nearest scale in the trained range."""
        return {"guidance": max(self.low, min(1.0, self.high))}

    def checked(self, scale: float) -> float:
        """Return `scale` if the model was trained with it.

        Raises:
            FromNoiseError: the scale is outside the trained range.
        """
        if not self.low <= scale <= self.high:
            raise FromNoiseError(f"guidance {scale:g}: this model was distilled for scales from {self.low:g} to "
                                 f"{self.high:g}")  # fmt: skip
        return scale
