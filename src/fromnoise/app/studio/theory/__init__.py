"""The theory pages: one file per chapter, with its equations, figure and the identities of `verify` that check it."""

import importlib
from functools import cache
from typing import Any

from fromnoise.app.studio.theory.base import Chapter
from fromnoise.registry import Registry

registry = Registry(__name__, "chapter", shared=("base", "controls", "identities", "mathml", "truths"))


def get(name: str) -> Chapter:
    """Return a chapter.

    Raises:
        FromNoiseError: if there is none with this name.
    """
    registry.check(name)
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}").chapter


@cache
def names() -> list[str]:
    """Names of all chapters, in reading order."""
    return sorted(registry.names(), key=lambda name: get(name).place)


def chapters() -> list[dict[str, Any]]:
    """The table of contents."""
    return [{"name": name, "title": get(name).title, "summary": get(name).summary} for name in names()]


def chapter(name: str) -> dict[str, Any]:
    """Everything that the page of a chapter shows, with formulas as MathML.

    Raises:
        FromNoiseError: if there is none with this name.
    """
    return {"name": name} | get(name).about()
