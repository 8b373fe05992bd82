"""What a reader can change of a figure, and what the figure answers with."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fromnoise.app.studio.theory.mathml import pieces
from fromnoise.errors import FromNoiseError, unknown


@dataclass(frozen=True)
class Slider:
    """A number between two ends.

    Attributes:
        name: of the value.
        label: for people, with formulas.
        low, high: its ends.
        step: between two of its values; 1 makes it a whole number.
        default: where it starts.
    """

    name: str
    label: str
    low: float
    high: float
    step: float
    default: float

    def checked(self, value: Any) -> float | int:
        """The value itself.

        Raises:
            FromNoiseError: it is no number, or beyond the ends.
        """
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not good or not self.low <= value <= self.high:
            raise FromNoiseError(
                f"{self.name}: must be a number from {self.low:g} to {self.high:g}, got {str(value)[:40]!r}"
            )
        return round(value) if self.is_whole else float(value)

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers mean something."""
        return float(self.step).is_integer() and float(self.low).is_integer()

    def about(self) -> dict[str, Any]:
        """For the page."""
        return {"kind": "slider", "name": self.name, "label": pieces(self.label), "min": self.low, "max": self.high,
                "step": self.step, "default": self.default}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """One of a few names.

    Attributes:
        name: of the value.
        label: for people, with formulas.
        options: the names; the first is the default.
    """

    name: str
    label: str
    options: tuple[str, ...]

    @property
    def default(self) -> str:
        """The first."""
        return self.options[0]

    def checked(self, value: Any) -> str:
        """The value itself.

        Raises:
            FromNoiseError: it is none of the options.
        """
        if value not in self.options:
            raise unknown(self.name, str(value)[:40], self.options)
        return value

    def about(self) -> dict[str, Any]:
        """For the page."""
        return {"kind": "choice", "name": self.name, "label": pieces(self.label), "options": list(self.options),
                "default": self.default}  # fmt: skip


Control = Slider | Choice


@dataclass(frozen=True)
class Chart:
    """The frame of a line chart, which the page draws before it has the lines.

    Attributes:
        title: what it shows.
        x, y: names of the axes.
        log_x, log_y: whether an axis is logarithmic.
        legend: whether the lines have names that say something.
    """

    title: str
    x: str
    y: str
    log_x: bool = False
    log_y: bool = False
    legend: bool = True

    def about(self) -> dict[str, Any]:
        """For the page."""
        return {"title": self.title, "x": self.x, "y": self.y, "logX": self.log_x, "logY": self.log_y,
                "legend": self.legend}  # fmt: skip


@dataclass(frozen=True)
class Series:
    """A line, or points.

    Attributes:
        name: for the legend.
        x, y: tensors or arrays of one length.
        style: how it is drawn.
    """

    name: str
    x: Any
    y: Any
    style: Literal["line", "dashed", "points", "faint"] = "line"


@dataclass(frozen=True)
class Drawn:
    """What a figure answers: the series of each chart, and numbers worth reading, their names with formulas."""

    charts: list[list[Series]]
    facts: Mapping[str, float] = field(default_factory=dict)


Draw = Callable[[Mapping[str, Any]], Drawn]


@dataclass(frozen=True)
class Figure:
    """A figure that is computed when somebody moves its controls.

    Attributes:
        what: what to look at, with formulas.
        controls: what can be changed.
        charts: their frames.
        draw: computes the series from a value for each control, with the library's own functions.
    """

    what: str
    controls: tuple[Control, ...]
    charts: tuple[Chart, ...]
    draw: Draw

    @property
    def defaults(self) -> dict[str, Any]:
        """A value for each control."""
        return {control.name: control.default for control in self.controls}

    def checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A value for each control, the defaults where there is none.

        Raises:
            FromNoiseError: a value that its control cannot have, or that no control has.
        """
        known = {control.name: control for control in self.controls}
        for name in values:
            if name not in known:
                raise unknown("control", str(name)[:40], known)
        return {name: one.checked(values.get(name, one.default)) for name, one in known.items()}
