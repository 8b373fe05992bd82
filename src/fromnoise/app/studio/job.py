"""A job: a work in the queue, with its state and its frames."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

ENDED = ("done", "failed", "cancelled")


@dataclass
class Job:
    """A work in the queue, with its state and its frames.

    Attributes:
        number: identifies the job.
        kind, values, places: the work, its arguments, and the paths of what it names.
        state: waiting, running, done, failed or cancelled.
        words: why it failed.
        seconds: how long it took.
        frames: all frames it sent; None once they are dropped.
        question: whether it is answered between the steps of another job.
        given: whether the worker has received it.
    """

    number: int
    kind: str
    values: dict[str, Any]
    places: dict[str, str]
    question: bool = False
    given: bool = False
    state: str = "waiting"
    words: str = ""
    seconds: float = 0.0
    frames: list[bytes] | None = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    began: float = 0.0

    def about(self) -> dict[str, Any]:
        """JSON values for the page."""
        return {"number": self.number, "kind": self.kind, "state": self.state, "words": self.words,
                "run": self.values.get("run", ""), "seconds": self.seconds}  # fmt: skip

    def tell(self) -> None:
        """Wake everyone who is waiting for a change."""
        self.changed.set()
        self.changed = asyncio.Event()
