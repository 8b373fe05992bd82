"""The configuration of a run, read without torch."""

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from fromnoise.errors import FromNoiseError

if TYPE_CHECKING:
    from fromnoise.recipes._recipe import Recipe


def read_config(run: Path) -> "Recipe":
    """The configuration of a run.

    Raises:
        FromNoiseError: no run is there, or its config.yaml is not one.
    """
    from fromnoise.recipes._recipe import checked

    path = run / "config.yaml"
    if not run.exists():
        others = sorted(str(p.parent) for p in run.parent.glob("*/config.yaml")) if run.parent.is_dir() else []
        there = (
            f"; there is {', '.join(others[:5])}" if others else f"; train one with: fromnoise train digits --out {run}"
        )
        raise FromNoiseError(f"{run}: no such run{there}")
    if not path.exists():
        raise FromNoiseError(f"{run}: not a run, it holds no config.yaml")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FromNoiseError(f"{path}: not readable as YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise FromNoiseError(f"{path}: not a configuration")
    return checked(values)
