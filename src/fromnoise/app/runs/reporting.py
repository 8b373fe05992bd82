"""What a training prints and draws for the user."""

from collections.abc import Callable
from pathlib import Path

from fromnoise.app.runs.config import write
from fromnoise.data.examples import Examples
from fromnoise.recipes.config import RunConfig
from fromnoise.system.disk import files
from fromnoise.system.disk.pictures import grid, save
from fromnoise.system.hardware import choose, peak_memory
from fromnoise.train.fit import Fitted
from fromnoise.train.task import Task
from fromnoise.train.trainer import Trainer


class Reporting:
    """What a training prints and draws for the user."""

    def __init__(self, config: RunConfig, out: Path, source: Examples, task: Task, talk: Callable[[str], None]):
        self.config, self.out, self.source, self.task, self.talk = config, out, source, task, talk
        self.done_before = self.writes = False

    def start(self, trainer: Trainer, resumed: bool) -> None:
        self.writes = trainer.processes.is_first
        self.done_before = resumed and trainer.is_finished()
        if self.done_before:
            self.talk(f"{self.out} is finished: {trainer.progress.step} steps, loss {trainer.progress.loss:.4f}")
            return
        if trainer.processes.is_first:
            write(self.config, self.out)
        count = sum(p.numel() for p in trainer.trained.network.parameters())
        trained = sum(p.numel() for p in trainer.trained.weights.values())
        counted = f"{count:,} parameters" + (f", {trained:,} of them trained" if trained < count else "")
        shape = "x".join(map(str, self.source.shape))
        what = f"{len(self.source):,} {self.config.examples_are} of {shape} from {self.source.name}"
        self.talk(f"{self.config.recipe}: {counted}, {what}, on {trainer.hardware.why}")
        if resumed:
            self.talk(f"resuming after step {trainer.progress.step}")

    def warn(self, text: str) -> None:
        self.talk(f"fromnoise: warning: {text}")

    def sample(self, step: int) -> None:
        looked = self.task.picture(self.source)
        if looked is not None and self.writes:
            save(grid(*looked), files.own_folder(self.out / "samples") / f"step-{step:08d}.png")

    def end(self, fitted: Fitted) -> int:
        p = fitted.progress
        if fitted.stopped:
            self.talk(f"stopped after step {p.step}, nothing is lost; continue with the same command and --resume")
            return 128 + fitted.stopped
        if not self.done_before:
            held_out = "" if p.validation is None else f", held-out {p.validation:.4f}"
            self.talk(f"trained {p.step} steps, {p.images:,} images in {p.seconds / 60:.1f} minutes "
                      f"({p.images / max(p.seconds, 1e-9):.0f} images/s), loss {p.loss:.4f}{held_out}"
                      f"{peak_memory(choose().device)}")  # fmt: skip
        self.talk(f"next: {self.config.next_command(self.out)}")
        return 0
