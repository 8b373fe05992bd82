"""What a person says of a file that does not say it itself: put together, and held against the file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromnoise.errors import FromNoiseError, unknown

if TYPE_CHECKING:
    from fromnoise.weights.formats.source import Source


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _part(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, Mapping) and "name" in value) or not _plain(value)


def _plain(value: Any) -> bool:
    """Whether it is a value of JSON, and no object of a class."""
    return value is None or isinstance(value, bool | int | float | str | list | tuple | Mapping)


def _names(value: Any) -> bool:
    listed = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return listed and len(set(value)) == len(value)


_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "network": (lambda value: isinstance(value, Mapping), 'options of a network, such as {"heads": 4}'),
    "schedule": (_part, 'a name, or {"name": "cosine", "T": 4000}'),
    "parameterization": (_part, 'a name, or {"name": "edm", "data_std": 0.5}'),
    "variance": (_part, "a name, such as learned_range"),
    "side": (_whole, "the number of pixels along a side"),
    "factor": (_whole, "a whole number; 1 for a model that enlarges nothing"),
    "scale": (lambda value: isinstance(value, int | float) and value > 0, "a positive number"),
    "by_head": (lambda value: isinstance(value, bool), "true or false"),
    "class_names": (_names, "a list of different names"),
    "autoencoder": (lambda value: isinstance(value, str | Path), "a folder"),
}
KEYS = frozenset(_TYPES)
"""What can be said of a file; each format takes some of them."""

_UNTOLD: dict[str, tuple[Callable[[Any], bool], str]] = {
    "heads": (_whole, "a whole number"),
    "head_channels": (lambda value: value is None or _whole(value), "a whole number, or null"),
    "dropout": (lambda value: isinstance(value, int | float) and 0 <= value < 1, "a number from 0 up to 1"),
    "time_scale": (lambda value: isinstance(value, int | float) and value > 0, "a positive number"),
    "null_label": (lambda value: isinstance(value, bool), "true or false"),
}
"""Options of a network that no shape tells."""


def merged(*said: Mapping[str, Any]) -> dict[str, Any]:
    """The last one goes before the others, of the network's options key by key."""
    found: dict[str, Any] = {}
    network: dict[str, Any] = {}
    for one in said:
        found |= dict(one)
        network |= one.get("network", {})
    return found | ({"network": network} if network else {})


def checked(said: Mapping[str, Any], where: object) -> dict[str, Any]:
    """The same, once each value is of its kind.

    Raises:
        FromNoiseError: one is not; `where` is named.
    """
    for key, value in said.items():
        if key not in _TYPES:
            raise FromNoiseError(f"{where}: {unknown('key of like', key, sorted(KEYS))}")
        is_one, what = _TYPES[key]
        if not is_one(value):
            raise FromNoiseError(f"{where}: {key} is said to be {value!r}, and is {what}")
    return dict(said)


def network(
    own: Mapping[str, Any], said: Mapping[str, Any], untold: tuple[str, ...], source: "Source"
) -> dict[str, Any]:
    """The options of a network that a file tells, and those of `untold` that are said of it.

    Raises:
        FromNoiseError: what is said contradicts the file, or is no value of an option; or, but for a recipe, is none
            of its options.
    """
    found, where = dict(own), source.path
    for key, value in said.items():
        if key in untold:
            is_one, what = _UNTOLD[key]
            if not is_one(value):
                raise FromNoiseError(f"{where}: {key} is said to be {value!r}, and is {what}")
            found[key] = value
        elif key not in own:
            if source.strict:
                raise FromNoiseError(f"{where}: {unknown('option of its network', key, sorted({*own, *untold}))}")
        elif (list(value) if isinstance(value, list | tuple) else value) != own[key]:
            raise FromNoiseError(f"{where}: {key} is said to be {value}, and in the file it is {own[key]}")
    return found


def class_names(said: Mapping[str, Any], classes: int | None, where: object) -> tuple[str, ...]:
    """Of all labels, or none.

    Raises:
        FromNoiseError: of another number of labels.
    """
    names = tuple(said.get("class_names", ()))
    if names and len(names) != (classes or 0):
        raise FromNoiseError(f"{where}: {len(names)} class_names are said, and it knows {classes or 'no'} classes")
    return names
