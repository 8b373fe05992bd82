"""A work on its way."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

ENDED = ("done", "failed", "cancelled")


@dataclass
class Job:
    """A work on its way.

    Attributes:
        number: its name.
        kind, values, places: the work, and where what it names lies.
        state: waiting, running, done, failed or cancelled.
        words: why it failed.
        seconds: that it took.
        frames: everything that it sent; None once they were dropped.
        question: whether it is answered between the steps of another.
        given: whether the worker has it.
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
        """For the page."""
        return {"number": self.number, "kind": self.kind, "state": self.state, "words": self.words,
                "run": self.values.get("run", ""), "seconds": self.seconds}  # fmt: skip

    def tell(self) -> None:
        """Wake whoever watches."""
        self.changed.set()
        self.changed = asyncio.Event()
