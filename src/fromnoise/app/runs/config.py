"""The configuration of a run, read without torch."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files
from fromnoise.system.disk.hub import hint

if TYPE_CHECKING:
    from fromnoise.recipes.config import RunConfig
    from fromnoise.recipes.diffusion import Recipe

    Config = TypeVar("Config", bound=RunConfig)


CONFIG = "config"
"""The note of a checkpoint that says what it was trained with."""


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


def read_if_any(run: Path) -> "Recipe | None":
    """As `read_config`; None for a model that was saved, or trained in Python, and so has no configuration."""
    return read_config(run) if has_any(run) else None


def has_any(run: Path) -> bool:
    """Whether a run has a configuration, or is none at all, as whoever reads it will say."""
    return os.path.lexists(run / "config.yaml") or not os.path.lexists(run) or _kept(run) is not None


def write(config: "RunConfig", run: Path) -> None:
    """config.yaml, under the hash of what it says: one that was cut or edited would be another model."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    files.write_text(run / "config.yaml", f"# sha256 {_sha256(text)} of what follows; change it by --set\n{text}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_any(run: Path) -> "RunConfig":
    """The configuration of a run, whatever was trained there.

    Where config.yaml is missing, that of its newest whole checkpoint.

    Raises:
        FromNoiseError: no run is there; or its config.yaml is not one, or was changed after it was written, with the
            first difference from what the checkpoints were trained with.
    """
    from fromnoise.recipes.reading import parsed

    path = run / "config.yaml"
    if not os.path.lexists(run):
        others = sorted(str(p.parent) for p in run.parent.glob("*/config.yaml")) if run.parent.is_dir() else []
        there = (
            f"; there is {', '.join(others[:5])}" if others else f"; train one with: fromnoise train digits --out {run}"
        )
        raise FromNoiseError(f"{run}: no such folder{meant}" if (meant := hint(run)) else f"{run}: no such run{there}")
    if not os.path.lexists(path):
        kept = _kept(run)
        if kept is None:
            raise FromNoiseError(f"{run}: not a run, it holds no config.yaml")
        return kept
    text = files.read_text(path, 2**20)
    first, _, rest = text.partition("\n")
    if not text.startswith("#"):  # of before, or written by hand
        return _unchanged(parsed(text, path), _kept(run), path)
    if first.split()[:3] != ["#", "sha256", _sha256(rest)]:
        kept = _kept(run)
        if kept is None:
            raise FromNoiseError(f"{path}: was changed after it was written, and no checkpoint says what it was: put "
                                 "it back, or train into another folder")  # fmt: skip
        try:
            found = parsed(text, path)
        except FromNoiseError as error:
            raise FromNoiseError(f"{error}: {_WAY_OUT}") from None
        return _unchanged(found, kept, path)
    return parsed(text, path)


_WAY_OUT = "put it back, or delete it, and the one in its newest checkpoint is used"


def _kept(run: Path) -> "RunConfig | None":
    """What the newest whole checkpoint was trained with; those of before do not say."""
    from fromnoise.recipes.reading import from_values
    from fromnoise.system.disk import storage
    from fromnoise.weights.checkpoint import Checkpoints

    newest = Checkpoints(run / "checkpoints").newest_whole(lambda text: None)
    if newest is None or not storage.holds(newest, CONFIG):
        return None
    return from_values(storage.read_text(newest, CONFIG), newest / f"{CONFIG}.json")


def _unchanged(found: "RunConfig", kept: "RunConfig | None", path: Path) -> "RunConfig":
    """Raises: FromNoiseError with the first difference."""
    if kept is None or kept == found:
        return found
    before, after = flat(kept.model_dump(mode="json")), flat(found.model_dump(mode="json"))
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            raise FromNoiseError(f"{path}: was changed after it was written: {key} is {after.get(key)}, and its "
                                 f"checkpoints were trained with {before.get(key)}: {_WAY_OUT}")  # fmt: skip
    return kept


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested values by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found
