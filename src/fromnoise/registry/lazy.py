"""Attributes that are imported on first use, so that `import fromnoise` is fast."""

import importlib
from collections.abc import Callable
from typing import Any

from fromnoise.registry import Registry


def lazy_attributes(package: str, **places: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose attributes are imported on first use.

    Args:
        package: import name of the package.
        places: attribute = "module", "module:name", or "module:*" for the module itself, relative to the package.
    """

    def find(attribute: str) -> Any:
        if attribute not in places:
            raise AttributeError(f"module {package!r} has no attribute {attribute!r}")
        module, _, name = places[attribute].partition(":")
        loaded = importlib.import_module(f"{package}.{module}")
        return loaded if name == "*" else getattr(loaded, name or attribute)

    return find, lambda: sorted(places)


def lazy_registry(registry: Registry, **places: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a registry's package, with all registered classes, e.g. `samplers.DDIM`."""
    find, _ = lazy_attributes(registry.package, **places)

    def attribute(name: str) -> Any:
        if name in places:
            return find(name)
        if not name.startswith("_") and name[:1].isupper():
            for entry in registry.names():
                cls = registry.get(entry)
                if cls.__name__ == name:
                    return cls
        raise AttributeError(f"module {registry.package!r} has no attribute {name!r}")

    def attributes() -> list[str]:
        return sorted([*places, *(registry.get(entry).__name__ for entry in registry.names())])

    return attribute, attributes
