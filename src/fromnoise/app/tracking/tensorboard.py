"""TensorBoard: event files in RUN/tensorboard; show them with tensorboard --logdir RUN."""

from pathlib import Path
from typing import Any

from fromnoise.app.tracking.base import Tracker
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register


@register("tensorboard")
class TensorBoard(Tracker):
    """Writes every number of every step as a scalar; a resumed run appends to its event files."""

    def __init__(self, run: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise FromNoiseError('tensorboard is not installed: pip install "fromnoise[track]"') from None
        self.writer = SummaryWriter(str(run / "tensorboard"), flush_secs=10)

    def __call__(self, line: dict[str, Any]) -> None:
        for name, value in line.items():
            if name != "step":
                self.writer.add_scalar(name, value, line["step"])
