"""The studio: between two steps, training gives way to the studio's jobs."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from fromnoise.app.tracking.base import Tracker
from fromnoise.errors import FromNoiseError
from fromnoise.registry import register

FOLDER, TURN = ".studio", "turn.lock"
"""The studio's folder beside the runs, and in it the lock that the studio holds while it computes."""


@register("studio")
class Studio(Tracker):
    """Waits after each step while a studio that shows this run computes.

    The studio holds a file lock, which is released even if the studio is killed.
    """

    def __init__(self, run: Path):
        places = [parent / FOLDER for parent in (run.resolve(), *run.resolve().parents[:3])]
        shown = [place for place in places if place.is_dir()]
        if not shown:
            raise FromNoiseError(f"tracker studio: no studio shows {run}; train it from a studio, or leave this out")
        self.locks = [FileLock(place / TURN, poll_interval=0.02) for place in shown]

    def __call__(self, line: dict[str, Any]) -> None:
        for lock in self.locks:  # of a studio of the parent folder, and of one of this run alone
            with suppress(OSError):
                lock.acquire()
                lock.release()
