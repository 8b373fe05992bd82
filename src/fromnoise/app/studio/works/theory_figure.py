"""The figure of a theory chapter, for the current values of its controls."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fromnoise.app.studio import theory
from fromnoise.app.studio.theory.mathml import pieces
from fromnoise.app.studio.works.base import Places, Send, Work
from fromnoise.registry import register

if TYPE_CHECKING:
    from fromnoise.app.studio.bench import Bench


@register("theory-figure")
@dataclass(frozen=True)
class TheoryFigure(Work):
    """The lines of a chapter's figure; controls without a value take their default."""

    figure: str
    values: dict[str, Any] = field(default_factory=dict)

    quick: ClassVar[bool] = True

    def __post_init__(self) -> None:
        theory.get(self.figure).figure.checked(self.values)

    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        import torch

        found = theory.get(self.figure).figure
        with torch.no_grad():
            drawn = found.draw(found.checked(self.values))
        arrays: dict[str, np.ndarray] = {}

        def placed(values: Any) -> str:
            name = f"a{len(arrays)}"
            arrays[name] = np.asarray(values, dtype=np.float32).reshape(-1)
            return name

        charts = [
            [{"name": one.name, "style": one.style, "x": placed(one.x), "y": placed(one.y)} for one in chart]
            for chart in drawn.charts
        ]
        send(
            {"kind": "figure", "charts": charts, "facts": [[pieces(k), _told(v)] for k, v in drawn.facts.items()]},
            arrays,
        )


def _told(value: float) -> float | str:
    """A finite number, or a symbol for NaN or infinity, which JSON lacks."""
    if math.isfinite(value):
        return float(value)
    if math.isnan(value):
        return "\N{EN DASH}"
    return "\N{INFINITY}" if value > 0 else "\N{MINUS SIGN}\N{INFINITY}"
