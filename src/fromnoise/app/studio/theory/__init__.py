"""The theory: a file for each chapter, with its equations, its figure and the identities of `verify` that prove it."""

import importlib
from functools import cache
from typing import Any

from fromnoise.app.studio.theory.base import Chapter
from fromnoise.registry import Registry

registry = Registry(__name__, "chapter", shared=("base", "controls", "identities", "mathml", "truths"))


def get(name: str) -> Chapter:
    """A chapter as it is written.

    Raises:
        FromNoiseError: there is none of that name.
    """
    registry.check(name)
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}").chapter


@cache
def names() -> list[str]:
    """Every chapter, in the order in which they are read."""
    return sorted(registry.names(), key=lambda name: get(name).place)


def chapters() -> list[dict[str, Any]]:
    """The table of contents."""
    return [{"name": name, "title": get(name).title, "summary": get(name).summary} for name in names()]


def chapter(name: str) -> dict[str, Any]:
    """All that the page of a chapter shows, its formulas as MathML.

    Raises:
        FromNoiseError: there is none of that name.
    """
    return {"name": name} | get(name).about()
