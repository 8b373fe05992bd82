"""The controls of a figure, and the data that it draws."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fromnoise.app.studio.theory.mathml import pieces
from fromnoise.errors import FromNoiseError, unknown


@dataclass(frozen=True)
class Slider:
    """A number in a range.

    Attributes:
        name: key of the value.
        label: the label, which may contain formulas.
        low, high: the ends of the range.
        step: the step between values; 1 makes the value an integer.
        default: the initial value.
    """

    name: str
    label: str
    low: float
    high: float
    step: float
    default: float

    def checked(self, value: Any) -> float | int:
        """Return the value if it is valid.

        Raises:
            FromNoiseError: if it is not a number, or out of range.
        """
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not good or not self.low <= value <= self.high:
            raise FromNoiseError(
                f"{self.name}: must be a number from {self.low:g} to {self.high:g}, got {str(value)[:40]!r}"
            )
        return round(value) if self.is_whole else float(value)

    @property
    def is_whole(self) -> bool:
        """Whether the value is an integer."""
        return float(self.step).is_integer() and float(self.low).is_integer()

    def about(self) -> dict[str, Any]:
        """JSON values for the page."""
        return {"kind": "slider", "name": self.name, "label": pieces(self.label), "min": self.low, "max": self.high,
                "step": self.step, "default": self.default}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """A choice among a few options.

    Attributes:
        name: key of the value.
        label: the label, which may contain formulas.
        options: the options; the first is the default.
    """

    name: str
    label: str
    options: tuple[str, ...]

    @property
    def default(self) -> str:
        """The first option."""
        return self.options[0]

    def checked(self, value: Any) -> str:
        """Return the value if it is valid.

        Raises:
            FromNoiseError: if it is none of the options.
        """
        if value not in self.options:
            raise unknown(self.name, str(value)[:40], self.options)
        return value

    def about(self) -> dict[str, Any]:
        """JSON values for the page."""
        return {"kind": "choice", "name": self.name, "label": pieces(self.label), "options": list(self.options),
                "default": self.default}  # fmt: skip


Control = Slider | Choice


@dataclass(frozen=True)
class Chart:
    """The axes of a line chart, which the page draws before it has the lines.

    Attributes:
        title: what it shows.
        x, y: labels of the axes.
        log_x, log_y: whether the axis is logarithmic.
        legend: whether to show the names of the lines.
    """

    title: str
    x: str
    y: str
    log_x: bool = False
    log_y: bool = False
    legend: bool = True

    def about(self) -> dict[str, Any]:
        """JSON values for the page."""
        return {"title": self.title, "x": self.x, "y": self.y, "logX": self.log_x, "logY": self.log_y,
                "legend": self.legend}  # fmt: skip


@dataclass(frozen=True)
class Series:
    """A line or a set of points.

    Attributes:
        name: name in the legend.
        x, y: tensors or arrays of equal length.
        style: how it is drawn.
    """

    name: str
    x: Any
    y: Any
    style: Literal["line", "dashed", "points", "faint"] = "line"


@dataclass(frozen=True)
class Drawn:
    """What a figure draws: the series of each chart, and single numbers, whose names may contain formulas."""

    charts: list[list[Series]]
    facts: Mapping[str, float] = field(default_factory=dict)


Draw = Callable[[Mapping[str, Any]], Drawn]


@dataclass(frozen=True)
class Figure:
    """A figure that is recomputed whenever its controls change.

    Attributes:
        what: what to look at; may contain formulas.
        controls: the controls.
        charts: the axes of the charts.
        draw: computes the series from the values of the controls, with the library's own functions.
    """

    what: str
    controls: tuple[Control, ...]
    charts: tuple[Chart, ...]
    draw: Draw

    @property
    def defaults(self) -> dict[str, Any]:
        """The default value of each control."""
        return {control.name: control.default for control in self.controls}

    def checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a value for each control, with defaults for missing ones.

        Raises:
            FromNoiseError: if a value is invalid, or belongs to no control.
        """
        known = {control.name: control for control in self.controls}
        for name in values:
            if name not in known:
                raise unknown("control", str(name)[:40], known)
        return {name: one.checked(values.get(name, one.default)) for name, one in known.items()}
