"""Which names of fromnoise are public: those of the package, and those of the modules that it exports."""

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import fromnoise


def modules() -> dict[str, ModuleType]:
    """The public modules, by the name under `fromnoise`: "samplers" for `fromnoise.samplers`."""
    found = {name: getattr(fromnoise, name) for name in dir(fromnoise)}
    return {name: value for name, value in sorted(found.items()) if inspect.ismodule(value)}


def top_level() -> dict[str, Any]:
    """What `fromnoise` itself exports that is no module."""
    found = {name: getattr(fromnoise, name) for name in dir(fromnoise)}
    return {name: value for name, value in sorted(found.items()) if not inspect.ismodule(value)}


def of(module: ModuleType) -> dict[str, Any]:
    """The public names of a module: what a package exports lazily, and what a plain module defines."""
    is_package, listed = hasattr(module, "__path__"), getattr(module, "__all__", ())
    found = {}
    for name in dir(module):
        value = getattr(module, name)
        own = is_package or name in listed or getattr(value, "__module__", "") == module.__name__
        if own and not name.startswith("_") and not inspect.ismodule(value):
            found[name] = value
    return found


def every() -> Iterator[str]:
    """ "fromnoise.sample", "fromnoise.samplers.DDIM", ..."""
    yield from (f"fromnoise.{name}" for name in top_level())
    for name, module in modules().items():
        yield from (f"fromnoise.{name}.{own}" for own in of(module))
