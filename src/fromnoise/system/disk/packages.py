"""Find files of installed packages without importing the packages."""

import importlib.util
from pathlib import Path

from fromnoise.errors import FromNoiseError


def folder(name: str, otherwise: str) -> Path:
    """The folder of an installed package.

    Args:
        name: its import name, without a dot (to find a submodule, Python would import the package).
        otherwise: the message of the error.

    Raises:
        FromNoiseError: if the package is not installed.
    """
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise FromNoiseError(otherwise)
    return Path(found.submodule_search_locations[0])
