"""The configuration of a run, read without torch."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import yaml

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
    from fromnoise.recipes.autoencoder import AutoencoderRecipe
    from fromnoise.recipes.classifier import ClassifierConfig
    from fromnoise.recipes.diffusion import Recipe

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
    kinds: tuple[type[RunConfig], ...] = (Recipe, AutoencoderRecipe, ClassifierConfig)
    kind = values.get("kind", Recipe.model_fields["kind"].default)  # runs of before have none
    return next((k for k in kinds if k.model_fields["kind"].default == kind), Recipe).checked(values)
