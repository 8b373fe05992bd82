"""What a tracker is."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any


class Tracker(ABC):
    """The numbers of every training step, shown elsewhere.

    Args:
        run: the folder of the run.

    Raises:
        FromNoiseError: its package is not installed.
    """

    @abstractmethod
    def __init__(self, run: Path): ...

    @abstractmethod
    def __call__(self, line: dict[str, Any]) -> None:
        """One line of the log: "step", and numbers by name."""
