"""Works: what pages can ask the studio to compute; one file each, under the name that pages use."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fromnoise.errors import FromNoiseError
from fromnoise.registry import Registry

if TYPE_CHECKING:
    from fromnoise.app.studio.works.base import Work

registry = Registry(__name__, "work", shared=("base", "seen", "watching"))
names, get, build = registry.names, registry.get, registry.build


def made(kind: str, values: Mapping[str, Any]) -> "Work":
    """Build a work from a page's request.

    Raises:
        FromNoiseError: if there is no such work, or a value is missing or invalid.
    """
    if kind not in names():
        raise FromNoiseError(f"the studio has no work {kind[:40]!r}; it has {', '.join(names())}")
    fields = inspect.signature(get(kind)).parameters
    for name in needed(kind):
        if not values.get(name) and values.get(name) != 0:
            raise FromNoiseError(f"{kind}: {name} is missing")
    for name in values:
        if name not in fields:
            raise FromNoiseError(f"{kind} has no {name[:40]!r}; it has {', '.join(fields)}")
    try:
        return build({**values, "name": kind})
    except FromNoiseError as error:  # drop the prefix that is meant for configuration files
        raise FromNoiseError(str(error).removeprefix(f"work {kind}: ").removeprefix("work.")) from None


def needed(kind: str) -> list[str]:
    """Names of the fields of a work that have no default."""
    fields = inspect.signature(get(kind)).parameters
    return [name for name, field in fields.items() if field.default is inspect.Parameter.empty]
