"""Weights & Biases: the run's numbers online, or offline in RUN/wandb with WANDB_MODE=offline."""

import os
from pathlib import Path
from typing import Any

from fromnoise.app.tracking.base import Tracker
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register
from fromnoise.system.disk import files


@register("wandb")
class WandB(Tracker):
    """Logs every number of every step; a resumed training continues the same W&B run.

    The project is $WANDB_PROJECT (default: fromnoise), and the run's name is that of the folder.
    """

    def __init__(self, run: Path):
        try:
            import wandb  # pyrefly: ignore[missing-import]
        except ImportError:
            raise FromNoiseError('wandb is not installed: pip install "fromnoise[track]"') from None
        name = run.resolve().name
        kept = run / "wandb-id.txt"
        if not kept.exists():
            files.write_text(kept, wandb.util.generate_id() + "\n")
        self.run = wandb.init(
            project=None if "WANDB_PROJECT" in os.environ else "fromnoise",
            name=name,
            id=files.read_text(kept).strip(),
            resume="allow",
            dir=str(run),
        )

    def __call__(self, line: dict[str, Any]) -> None:
        self.run.log({name: value for name, value in line.items() if name != "step"}, step=line["step"])
