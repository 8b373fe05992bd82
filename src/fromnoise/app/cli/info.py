"""`fromnoise info`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fromnoise.app.cli._options import Run
from fromnoise.app.runs.config import read_any
from fromnoise.disk import files
from fromnoise.errors import printable
from fromnoise.progress import warn


@dataclass(frozen=True)
class Info:
    """What a run is and how far it has come."""

    run: Run
    """A run's folder."""

    def __call__(self) -> int:
        config = read_any(self.run)
        stages = getattr(config, "stages", {})
        for part in [self.run / name for name in stages] or [self.run]:
            _describe(part)
            print()
        print("config.yaml")
        print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).rstrip())
        return 0


def _describe(run: Path) -> None:
    from fromnoise.disk import storage
    from fromnoise.train.progress import Progress
    from fromnoise.weights import native
    from fromnoise.weights.checkpoint import Checkpoints

    config = read_any(run)

    def read(folder: Path) -> tuple[Progress, dict[str, Any], int]:
        state = Progress.of(storage.read_text(folder, "state"), folder)
        return state, storage.read_text(folder, config.holds), native.parameters(folder)

    state, about, parameters = native.reading(run, read, warn, config.holds)
    lines = {
        "run": str(run),
        "holds": config.what,
        "recipe": config.recipe,
        "parameters": f"{parameters:,}",
        "trained on": _shape(about) + config.data.name,
        "classes": ", ".join(about.get("classes", ())) or "none",
        "trained": f"{state.step} steps, {state.images:,} images, {state.seconds / 60:.1f} minutes",
        "loss": f"{state.loss:.4f} (moving average), {_last_loss(run)} (last step)",
        "checkpoints": ", ".join(map(str, Checkpoints(run / "checkpoints").steps())),
    }
    width = max(map(len, lines))
    for key, value in lines.items():
        print(printable(f"{key:<{width}}  {value}"))


def _shape(about: dict[str, Any]) -> str:
    """Of what the network sees, where it is fixed."""
    shape = "x".join(map(str, about.get("shape") or ()))
    return f"{shape} from " if shape else ""


def _last_loss(run: Path) -> str:
    try:
        last = files.read_text(run / "metrics.jsonl", 2**32).splitlines()[-1]
        return f"{files.parse_json(last, run)['loss']:.4f}"
    except (IndexError, ValueError, KeyError, TypeError):
        return "unknown"
