"""What the studio can be asked to compute: a file each, named as the page asks for it."""

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
    """A work from what a page sent.

    Raises:
        FromNoiseError: there is no such work, something is missing, or a value is not what it should be.
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
    except FromNoiseError as error:  # whose words are for files, and say what kind of thing it is
        raise FromNoiseError(str(error).removeprefix(f"work {kind}: ").removeprefix("work.")) from None


def needed(kind: str) -> list[str]:
    """Fields of a work that have no default."""
    fields = inspect.signature(get(kind)).parameters
    return [name for name, field in fields.items() if field.default is inspect.Parameter.empty]
