"""The base class of works."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from fromnoise.errors import FromNoiseError

if TYPE_CHECKING:
    import numpy as np

    from fromnoise.app.studio.bench import Bench

Places = Mapping[str, Path]
"""Paths of the models, uploads and sets that a work names, by field."""


class Send(Protocol):
    """Sends a frame to the page. Between two frames the worker answers questions, and may cancel the job."""

    def __call__(self, header: Mapping[str, Any], arrays: "Mapping[str, np.ndarray] | None" = None) -> None: ...


class Work(ABC):
    """A request. Subclasses are frozen dataclasses with the fields that the page sends; they import torch in `compute`.

    Attributes:
        models: fields that name a run or a saved model.
        uploads: fields that name uploaded images.
        sets: fields that name a folder of images to train on.
        quick: whether it is a question, which is answered between the steps of a job instead of being queued.
    """

    models: ClassVar[tuple[str, ...]] = ()
    uploads: ClassVar[tuple[str, ...]] = ()
    sets: ClassVar[tuple[str, ...]] = ()
    quick: ClassVar[bool] = False

    @abstractmethod
    def compute(self, bench: "Bench", places: Places, send: Send) -> None:
        """Compute and send frames; a question sends exactly one.

        Raises:
            FromNoiseError: if the work fails, with a message for the page.
        """


def whole(name: str, value: int, least: int, most: int) -> None:
    """Check that an integer is in [least, most].

    Raises:
        FromNoiseError: if it is not.
    """
    if not least <= value <= most:
        raise FromNoiseError(f"{name}: must be from {least} to {most:,}, got {value}")


def between(name: str, value: float, least: float, most: float) -> None:
    """Check that a number is in [least, most] and not NaN.

    Raises:
        FromNoiseError: if it is not.
    """
    if not least <= value <= most:
        raise FromNoiseError(f"{name}: must be from {least:g} to {most:g}, got {value:g}")
