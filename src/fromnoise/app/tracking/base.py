"""The base class of trackers."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any


class Tracker(ABC):
    """Receives every line of a run's log and sends it elsewhere.

    Args:
        run: the folder of the run.

    Raises:
        FromNoiseError: if the tracker's package is not installed.
    """

    @abstractmethod
    def __init__(self, run: Path): ...

    @abstractmethod
    def __call__(self, line: dict[str, Any]) -> None:
        """Take one line of the log: "step", and other numbers by name."""
