"""What the worker keeps between two jobs: open models and recent results."""

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fromnoise.app.runs.model import Model

_MODELS, _KEPT = 3, 6


class Bench:
    """A cache of models and results that drops the least recently used first."""

    def __init__(self) -> None:
        self._models: OrderedDict[tuple[str, ...], Model] = OrderedDict()
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def model(self, path: Path) -> "Model":
        """Return a model with its averaged weights, reopened when there is a newer checkpoint.

        Raises:
            FromNoiseError: if there is no model.
        """
        from fromnoise.app import runs

        key = (str(path), *_newest(path))
        if key not in self._models:
            self._models[key] = runs.open_model(path)
        self._models.move_to_end(key)
        while len(self._models) > _MODELS:
            self._models.popitem(last=False)
        return self._models[key]

    def keep(self, *key: Any, value: Any) -> None:
        """Keep a value for a later question."""
        self._kept[key] = value
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def kept(self, *key: Any, make: Callable[[], Any] | None = None) -> Any:
        """Return a kept value. If there is none, make and keep it, or return None without `make`."""
        if key not in self._kept and make is not None:
            self.keep(*key, value=make())
        return self._kept.get(key)


def _newest(path: Path) -> list[str]:
    """A key that changes when there is a newer checkpoint: all checkpoints, with their modification times."""
    found = [*path.glob("checkpoints/step-*"), *path.glob("*/checkpoints/step-*")] or [path]
    return sorted(f"{entry} {_made(entry)}" for entry in found)


def _made(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
