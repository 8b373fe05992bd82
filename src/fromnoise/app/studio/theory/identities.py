"""Names and sources of the identities of `verify`, read from its source files so that the server needs no torch."""

import ast
import importlib.util
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Named:
    """An identity before it is run: a `verify.Check` without its function."""

    topic: str
    name: str
    source: str


@cache
def named() -> tuple[Named, ...]:
    """All identities, in the order of `verify.checks`."""
    spec = importlib.util.find_spec("fromnoise.verify")
    folder = Path(next(iter(spec.submodule_search_locations or ()))) if spec else Path()
    paths = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))
    return tuple(one for path in paths for one in _of(path))


def _of(path: Path) -> Iterable[Named]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "check":
                name = inspect.cleandoc(ast.get_docstring(node) or node.name)
                yield Named(path.stem, " ".join(name.split()), ast.literal_eval(mark.args[0]))


def belongs(topic: str, name: str, patterns: Iterable[str]) -> bool:
    """Whether any of the patterns, "topic" or "topic: part of the name", matches this identity."""
    return any(matches(topic, name, pattern) for pattern in patterns)


def matches(topic: str, name: str, pattern: str) -> bool:
    """Whether one pattern matches this identity."""
    wanted, _, part = pattern.partition(": ")
    return wanted == topic and part in name
