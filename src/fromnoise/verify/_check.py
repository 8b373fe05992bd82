"""Identities: two numbers that theory says are equal."""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Sides = tuple[Any, ...]
"""(theory, practice), or (theory, practice, printed) if a text prints something else."""


@dataclass(frozen=True)
class Check:
    """An identity that can be run.

    Attributes:
        name: what the identity says.
        source: the equations in the texts.
        tolerance: the largest allowed error, relative where theory exceeds 1.
        sides: computes both sides, tensors or numbers of one shape.
        topic: the module that defines it.
    """

    name: str
    source: str
    tolerance: float
    sides: Callable[[], Sides]
    topic: str


@dataclass(frozen=True)
class Row:
    """An identity that was run; theory and practice are those of the worst element.

    Attributes:
        printed: what a text with an error prints instead of the theory; the row fails if practice agrees with it.
        why: why the row failed, if the numbers do not show it.
    """

    name: str
    source: str
    theory: float
    practice: float
    error: float
    tolerance: float
    passed: bool
    topic: str
    printed: float | None = None
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """{name, source, theory, practice, error, tolerance, passed}; None for numbers that are not finite."""
        keys = ("name", "source", "theory", "practice", "error", "tolerance", "passed")
        values = {key: getattr(self, key) for key in keys}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


_CHECKS: list[Check] = []


def check(source: str, tolerance: float = 1e-10) -> Callable[[Callable[[], Sides]], Callable[[], Sides]]:
    """Register a function that returns both sides; its docstring, joined to one line, is the identity's name."""

    def mark(function: Callable[[], Sides]) -> Callable[[], Sides]:
        name = inspect.getdoc(function) or function.__name__
        topic = function.__module__.rpartition(".")[2]
        _CHECKS.append(Check(" ".join(name.split()), source, tolerance, function, topic))
        return function

    return mark


def checks() -> list[Check]:
    """Every identity, ordered by file and by position within the file."""
    package = __name__.rpartition(".")[0]
    for module in sorted(m.name for m in pkgutil.iter_modules(importlib.import_module(package).__path__)):
        if not module.startswith("_"):
            importlib.import_module(f"{package}.{module}")
    return sorted(_CHECKS, key=lambda c: c.topic)


def rows(chosen: list[Check] | None = None) -> Iterator[Row]:
    """Run identities one after the other; one that cannot be computed fails, with the reason."""
    for one in checks() if chosen is None else chosen:
        try:
            yield _compare(one, one.sides())
        except Exception as error:  # the report must be completed, whatever is broken
            why = f"{type(error).__name__}: {error}"
            yield Row(one.name, one.source, math.nan, math.nan, math.inf, one.tolerance, False, one.topic, why=why)


def _compare(one: Check, sides: Sides) -> Row:
    theory, practice = (_flat(side) for side in sides[:2])
    theory, practice = torch.broadcast_tensors(theory, practice)
    errors = (theory - practice).abs() / theory.abs().clamp_min(1)
    errors = torch.where(theory == practice, 0.0, errors)  # infinities that agree
    errors = torch.where(errors.isnan(), torch.inf, errors)
    worst = int(errors.argmax())
    error = errors[worst].item()
    passed, printed, why = error <= one.tolerance, None, ""
    if len(sides) == 3:
        wrong = torch.broadcast_to(_flat(sides[2]), practice.shape)
        apart = (wrong - practice).abs() / practice.abs().clamp_min(1)
        apart = torch.where(apart.isnan(), torch.inf, apart)
        at = int(apart.argmax())
        printed = wrong[at].item()
        if apart[at] <= 10 * one.tolerance:
            passed, why = False, "agrees with the printed form, which is wrong"
        elif passed:
            worst = at  # show where practice and the printed form differ most
    return Row(one.name, one.source, theory[worst].item(), practice[worst].item(), error, one.tolerance, passed,
               one.topic, printed, why)  # fmt: skip


def _flat(side: Any) -> Tensor:
    return (side.detach() if isinstance(side, Tensor) else torch.tensor(side, dtype=torch.float64)).double().flatten()
