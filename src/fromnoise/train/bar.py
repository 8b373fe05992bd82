"""The progress bar of training: steps or time done, time left, loss and speed."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fromnoise.system.progress import Bar
from fromnoise.train.trainer import Trainer


@contextmanager
def watching(
    trainer: Trainer, callbacks: Sequence[Callable[[dict[str, Any]], Any]]
) -> Iterator[list[Callable[[dict[str, Any]], Any]]]:
    """Show a progress bar inside the block; yields the callbacks with one more that moves the bar."""
    c, p = trainer.config, trainer.progress
    by_steps = c.minutes is None
    bar = Bar(
        "training", c.steps or 0 if by_steps else 60 * (c.minutes or 0), counts=by_steps, lines=trainer.watcher.lines
    )
    bar.done = p.step if by_steps else p.seconds
    rate, shown = 0.0, 0.0

    def move(line: dict[str, Any]) -> None:
        nonlocal rate, shown
        now = time.monotonic()
        rate = 0.9 * rate + 0.1 * line["images_per_second"] if rate else line["images_per_second"]
        if now - shown < 0.1 and not trainer.is_finished():
            return
        shown = now
        done = line["step"] if by_steps else line["seconds"]
        held_out = "" if p.validation is None else f"  held-out {p.validation:.4f}"
        bar.advance(done - bar.done, f"step {line['step']}  loss {p.loss:.4f}{held_out}  {rate:.0f} images/s")

    with bar:
        yield [*callbacks, move]
