"""Files that installed packages bring along: found and read, while no package is imported."""

import importlib.util
from pathlib import Path

from fromnoise.errors import FromNoiseError


def folder(name: str, otherwise: str) -> Path:
    """Where an installed package lies.

    Args:
        name: its import name, without a dot (to find what is inside a package, Python would import it).
        otherwise: the line of the error.

    Raises:
        FromNoiseError: it is not installed.
    """
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise FromNoiseError(otherwise)
    return Path(found.submodule_search_locations[0])
