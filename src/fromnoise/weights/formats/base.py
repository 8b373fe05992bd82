"""What a weight format is: how another library writes a model."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import nn

from fromnoise.denoise import Denoiser
from fromnoise.errors import FromNoiseError
from fromnoise.weights.formats.source import Source


@dataclass(frozen=True)
class Card:
    """What is written beside the weights for people, and for the other side's sampler.

    Attributes:
        about: a paragraph.
        clip: whether its sampler clips x0 to [-1, 1].
    """

    about: str = ""
    clip: bool = True


class Format(ABC):
    """One way of writing a model. Registered ones are frozen dataclasses, one in a file."""

    loads: ClassVar[str]
    """What the other library loads it with, a line of Python in which {path} stands for the place."""

    @abstractmethod
    def claims(self, source: Source) -> bool:
        """Whether a folder or a file is of this format, by names alone."""

    @abstractmethod
    def read(self, source: Source) -> nn.Module:
        """The Denoiser, NoisyClassifier or autoencoder that it holds, in float32 on the CPU.

        Raises:
            FromNoiseError: a part is missing or damaged, or our networks cannot express it; in one line.
        """

    def write(self, denoiser: Denoiser, path: Path, card: Card) -> None:
        """What the other library loads with its own loader.

        Raises:
            FromNoiseError: the other side cannot express this model, with the reason; or it cannot be written.
        """
        name = vars(type(self)).get("registered_name", type(self).__name__)
        raise FromNoiseError(f"{name}: is read here, and not written")
