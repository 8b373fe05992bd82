"""The configuration of a run, read without torch."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fromnoise.errors import FromNoiseError

if TYPE_CHECKING:
    from fromnoise.recipes.config import RunConfig
    from fromnoise.recipes.diffusion import Recipe

    Config = TypeVar("Config", bound=RunConfig)


def read_config(run: Path) -> "Recipe":
    """The configuration of a diffusion model's run.

    Raises:
        FromNoiseError: no run is there, its config.yaml is not one, or something else was trained there.
    """
    from fromnoise.recipes.diffusion import Recipe

    return read(run, Recipe)


def read(run: Path, wanted: "type[Config]") -> "Config":
    """The configuration of a run of that class.

    Raises:
        FromNoiseError: as `read_config`.
    """
    config = read_any(run)
    if not isinstance(config, wanted):
        raise FromNoiseError(f"{run}: holds {config.what}, not {wanted.what}")
    return config


def read_any(run: Path) -> "RunConfig":
    """The configuration of a run, whatever was trained there.

    Raises:
        FromNoiseError: no run is there, or its config.yaml is not one.
    """
    from fromnoise.recipes.reading import from_file

    path = run / "config.yaml"
    if not run.exists():
        others = sorted(str(p.parent) for p in run.parent.glob("*/config.yaml")) if run.parent.is_dir() else []
        there = (
            f"; there is {', '.join(others[:5])}" if others else f"; train one with: fromnoise train digits --out {run}"
        )
        raise FromNoiseError(f"{run}: no such run{there}")
    if not path.exists():
        raise FromNoiseError(f"{run}: not a run, it holds no config.yaml")
    return from_file(path)
