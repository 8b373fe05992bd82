"""Reading the configuration of a run, without importing torch."""

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
"""Name of the checkpoint note that holds the configuration it was trained with."""


def read_config(run: Path) -> "Recipe":
    """Return the configuration of a diffusion model's run.

    Raises:
        FromNoiseError: if there is no run, its config.yaml is invalid, or it trained another kind of model.
    """
    from fromnoise.recipes.diffusion import Recipe

    return read(run, Recipe)


def read(run: Path, wanted: "type[Config]") -> "Config":
    """Return the configuration of a run, which must be an instance of `wanted`.

    Raises:
        FromNoiseError: if there is no run, its config.yaml is invalid, or it trained another kind of model.
    """
    config = read_any(run)
    if not isinstance(config, wanted):
        raise FromNoiseError(f"{run}: holds {config.what}, not {wanted.what}")
    return config


def read_if_any(run: Path) -> "Recipe | None":
    """Like `read_config`, but None for a saved model or one trained in Python, which has no configuration."""
    return read_config(run) if has_any(run) else None


def has_any(run: Path) -> bool:
    """Whether a run has a configuration. Also True if the folder does not exist: reading it raises a clear error."""
    return os.path.lexists(run / "config.yaml") or not os.path.lexists(run) or _kept(run) is not None


def write(config: "RunConfig", run: Path) -> None:
    """Write config.yaml with a hash of its content, which reveals later truncation and edits."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    files.write_text(run / "config.yaml", f"# sha256 {_sha256(text)} of what follows; change it by --set\n{text}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_any(run: Path) -> "RunConfig":
    """Return the configuration of a run of any kind.

    If config.yaml is missing, the configuration of the newest intact checkpoint is used.

    Raises:
        FromNoiseError: if there is no run, or its config.yaml is invalid or was changed after it was written; the
            message names the first difference from the checkpoints' configuration.
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
    if not text.startswith("#"):  # from an older version, or written by hand
        return _unchanged(parsed(text, path), _kept(run), path)
    if first.split()[:3] != ["#", "sha256", _sha256(rest)]:
        kept = _kept(run)
        if kept is None:
            raise FromNoiseError(f"{path}: was changed after it was written, and no checkpoint holds the original: "
                                 "restore it, or train into another folder")  # fmt: skip
        try:
            found = parsed(text, path)
        except FromNoiseError as error:
            raise FromNoiseError(f"{error}: {_WAY_OUT}") from None
        return _unchanged(found, kept, path)
    return parsed(text, path)


_WAY_OUT = "restore it, or delete it to use the one in the newest checkpoint"


def _kept(run: Path) -> "RunConfig | None":
    """The configuration in the newest intact checkpoint; None if there is none (older checkpoints lack it)."""
    from fromnoise.recipes.reading import from_values
    from fromnoise.system.disk import storage
    from fromnoise.weights.checkpoint import Checkpoints

    newest = Checkpoints(run / "checkpoints").newest_whole(lambda text: None)
    if newest is None or not storage.holds(newest, CONFIG):
        return None
    return from_values(storage.read_text(newest, CONFIG), newest / f"{CONFIG}.json")


def _unchanged(found: "RunConfig", kept: "RunConfig | None", path: Path) -> "RunConfig":
    """Return the configuration, or raise FromNoiseError with the first difference from the checkpoints'."""
    if kept is None or kept == found:
        return found
    before, after = flat(kept.model_dump(mode="json")), flat(found.model_dump(mode="json"))
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            raise FromNoiseError(f"{path}: was changed after it was written: {key} is {after.get(key)}, and its "
                                 f"checkpoints were trained with {before.get(key)}: {_WAY_OUT}")  # fmt: skip
    return kept


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries into dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found
