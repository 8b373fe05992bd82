"""`fromnoise info`."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from fromnoise.cli._options import Run
from fromnoise.progress import say
from fromnoise.runs._config import read_config


@dataclass(frozen=True)
class Info:
    """What a run is and how far it has come."""

    run: Run
    """A run's folder."""

    def __call__(self) -> int:
        config = read_config(self.run)
        from fromnoise import io, storage
        from fromnoise.train.checkpoint import Checkpoints

        found = io.find(self.run, lambda text: say(f"fromnoise: warning: {text}"))
        state = storage.read_text(found, "state")
        about = storage.read_text(found, io.ABOUT)
        count = io.parameters(found)
        steps = Checkpoints(self.run / "checkpoints").steps()
        lines = {
            "run": str(self.run),
            "recipe": config.recipe,
            "parameters": f"{count:,}",
            "images": "x".join(map(str, about["shape"])) + f" from {config.data.name}",
            "classes": ", ".join(about.get("classes", ())) or "none",
            "trained": f"{state['step']} steps, {state['images']:,} images, {state['seconds'] / 60:.1f} minutes",
            "loss": f"{state['loss']:.4f} (moving average), {_last_loss(self.run)} (last step)",
            "checkpoints": ", ".join(map(str, steps)),
        }
        width = max(map(len, lines))
        for key, value in lines.items():
            print(f"{key:<{width}}  {value}")
        print("\nconfig.yaml")
        print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).rstrip())
        return 0


def _last_loss(run: Path) -> str:
    try:
        last = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1]
        return f"{json.loads(last)['loss']:.4f}"
    except (OSError, IndexError, ValueError, KeyError):
        return "unknown"
