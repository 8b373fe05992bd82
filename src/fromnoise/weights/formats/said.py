"""The argument `like`: facts that a file does not state itself, merged and checked against the file."""

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
    """Whether it is a JSON value and not an object of a class."""
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
"""The keys of `like`; each format takes some of them."""

_UNTOLD: dict[str, tuple[Callable[[Any], bool], str]] = {
    "heads": (_whole, "a whole number"),
    "head_channels": (lambda value: value is None or _whole(value), "a whole number, or null"),
    "dropout": (lambda value: isinstance(value, int | float) and 0 <= value < 1, "a number from 0 up to 1"),
    "time_scale": (lambda value: isinstance(value, int | float) and value > 0, "a positive number"),
    "null_label": (lambda value: isinstance(value, bool), "true or false"),
}
"""Options of a network that do not follow from shapes."""


def merged(*said: Mapping[str, Any]) -> dict[str, Any]:
    """Merge dicts of `like`; later ones take precedence, and the network's options are merged key by key."""
    found: dict[str, Any] = {}
    network: dict[str, Any] = {}
    for one in said:
        found |= dict(one)
        network |= one.get("network", {})
    return found | ({"network": network} if network else {})


def checked(said: Mapping[str, Any], where: object) -> dict[str, Any]:
    """Return a copy of `like` after checking the type of each value.

    Raises:
        FromNoiseError: if a value has the wrong type or a key is unknown; the message names `where`.
    """
    for key, value in said.items():
        if key not in _TYPES:
            raise FromNoiseError(f"{where}: {unknown('key of like', key, sorted(KEYS))}")
        is_one, what = _TYPES[key]
        if not is_one(value):
            raise FromNoiseError(f"{where}: {key} must be {what}, got {value!r}")
    return dict(said)


def network(
    own: Mapping[str, Any], said: Mapping[str, Any], untold: tuple[str, ...], source: "Source"
) -> dict[str, Any]:
    """The options of a network: those that follow from the file (`own`), and those of `untold` that `like` gives.

    Raises:
        FromNoiseError: if `like` contradicts the file, or a value is wrong; also if a key is not an option of the
            network, unless it comes from a recipe.
    """
    found, where = dict(own), source.path
    for key, value in said.items():
        if key in untold:
            is_one, what = _UNTOLD[key]
            if not is_one(value):
                raise FromNoiseError(f"{where}: {key} must be {what}, got {value!r}")
            found[key] = value
        elif key not in own:
            if source.strict:
                raise FromNoiseError(f"{where}: {unknown('option of its network', key, sorted({*own, *untold}))}")
        elif (list(value) if isinstance(value, list | tuple) else value) != own[key]:
            raise FromNoiseError(f"{where}: {key} is {own[key]} in the file, but like says {value}")
    return found


def class_names(said: Mapping[str, Any], classes: int | None, where: object) -> tuple[str, ...]:
    """The names of all labels, or () if `like` does not give them.

    Raises:
        FromNoiseError: if their number is not that of the labels.
    """
    names = tuple(said.get("class_names", ()))
    if names and len(names) != (classes or 0):
        raise FromNoiseError(f"{where}: class_names has {len(names)} names for {classes or 'no'} classes")
    return names
