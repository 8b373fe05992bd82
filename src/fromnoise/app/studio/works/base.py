"""What a work is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from fromnoise.errors import FromNoiseError

if TYPE_CHECKING:
    import numpy as np

    from fromnoise.app.studio.bench import Bench

Places = Mapping[str, Path]
"""Where what a work's fields name lies, by the field."""


class Send(Protocol):
    """Gives a frame to the page; between two frames the worker answers questions, and may be asked to stop."""

    def __call__(self, header: Mapping[str, Any], arrays: "Mapping[str, np.ndarray] | None" = None) -> None: ...


class Work(ABC):
    """A request: subclasses are frozen dataclasses whose fields are what the page sends, and import torch in `compute`.

    Attributes:
        models: fields that name a run or a saved model.
        uploads: fields that name uploaded images.
        sets: fields that name a folder of images to train on.
        quick: whether it is a question, which is answered between the steps of a job and waits for no turn.
    """

    models: ClassVar[tuple[str, ...]] = ()
    uploads: ClassVar[tuple[str, ...]] = ()
    sets: ClassVar[tuple[str, ...]] = ()
    quick: ClassVar[bool] = False

    @abstractmethod
    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        """Compute, sending frames; a question sends one.

        Raises:
            FromNoiseError: in words for the page.
        """


def whole(name: str, value: int, least: int, most: int) -> None:
    """That a number lies between two.

    Raises:
        FromNoiseError: it does not.
    """
    if not least <= value <= most:
        raise FromNoiseError(f"{name}: must be from {least} to {most:,}, got {value}")


def between(name: str, value: float, least: float, most: float) -> None:
    """The same of a number that need not be whole, and is one.

    Raises:
        FromNoiseError: it is not between them.
    """
    if not least <= value <= most:
        raise FromNoiseError(f"{name}: must be from {least:g} to {most:g}, got {value:g}")
