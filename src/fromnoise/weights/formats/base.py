"""The interface of weight formats: how another library stores a model."""

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
    """What is written beside the weights, for readers and for the other library's sampler.

    Attributes:
        about: a paragraph about the model.
        clip: whether the sampler clips x0 to [-1, 1].
    """

    about: str = ""
    clip: bool = True


class Format(ABC):
    """A format in which models are stored. Registered formats are frozen dataclasses, one per file."""

    loads: ClassVar[str]
    """The line of Python with which the other library loads it; {path} stands for the file or folder."""

    @abstractmethod
    def claims(self, source: Source) -> bool:
        """Whether a folder or a file has this format, judged by names alone."""

    @abstractmethod
    def read(self, source: Source) -> nn.Module:
        """Read the Denoiser, NoisyClassifier or autoencoder in a file or folder, in float32 on the CPU.

        Raises:
            FromNoiseError: if a part is missing or damaged, or our networks cannot express the model.
        """

    def write(self, denoiser: Denoiser, path: Path, card: Card) -> None:
        """Write a model for the other library's own loader.

        Raises:
            FromNoiseError: if the format cannot express the model (the message says why), or it cannot be written.
        """
        name = vars(type(self)).get("registered_name", type(self).__name__)
        raise FromNoiseError(f"{name}: this format can be read, but not written")
