"""Base class of feature extractors."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fromnoise.data.fitting import laid_on
from fromnoise.errors import FromNoiseError


@dataclass(frozen=True)
class Features:
    """The features of N images.

    Attributes:
        pool: one vector per image, [N, D], float32.
        probabilities: p(class | image), [N, K], for extractors that are classifiers.
        spatial: an earlier feature map, flattened, [N, S], for extractors that provide it for sFID.
    """

    pool: Tensor
    probabilities: Tensor | None = None
    spatial: Tensor | None = None


class Extractor(ABC):
    """uint8 images [N, C, H, W] -> Features. Figures are comparable only if their extractors have equal hashes."""

    suffix: ClassVar[str]
    """Suffix of the names of figures; empty for Inception, whose figures alone are called FID, sFID, IS and KID."""

    dimensions: int
    """D, the length of a feature vector."""

    hash: str
    """SHA-256 of the weights, hexadecimal."""

    classes: Sequence[str] = ()
    """Names of the classes of its probabilities, if models may have the same classes."""

    about: dict[str, Any]
    """Further facts that are stored beside a figure, as JSON values."""

    @abstractmethod
    def __call__(self, pixels: Tensor) -> Features:
        """uint8 images [N, C, H, W], gray or RGB, of any size -> features on the CPU."""

    def title(self, kind: str) -> str:
        """The name of a figure of these features: FD becomes FID for Inception, FD-digits for the digits classifier."""
        if self.suffix:
            return f"{kind}{self.suffix}"
        return {"FD": "FID", "sFD": "sFID"}.get(kind, kind)


def rgb(pixels: Tensor) -> Tensor:
    """The image with three channels: gray is repeated, and transparent parts become white.

    Raises:
        FromNoiseError: the number of channels is not 1, 3 or 4.
    """
    channels = pixels.shape[1]
    if channels not in (1, 3, 4):
        raise FromNoiseError(f"features need gray, RGB or RGBA images, and these have {channels} channels")
    return pixels.expand(-1, 3, -1, -1) if channels == 1 else laid_on(pixels, "white") if channels == 4 else pixels


def gray(pixels: Tensor) -> Tensor:
    """The image with one channel, float32 in 0..255: the Rec. 601 luma of RGB."""
    if pixels.shape[1] == 1:
        return pixels.float()
    x = rgb(pixels).float()
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
