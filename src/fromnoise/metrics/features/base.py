"""What a feature extractor is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from fromnoise.data.fitting import laid_on
from fromnoise.errors import FromNoiseError


@dataclass(frozen=True)
class Features:
    """Of N images.

    Attributes:
        pool: one vector an image, [N, D], float32.
        probabilities: p(class | image), [N, K], for extractors that are classifiers.
        spatial: an earlier feature map as a vector, [N, S], for extractors that have the one of sFID.
    """

    pool: Tensor
    probabilities: Tensor | None = None
    spatial: Tensor | None = None


class Extractor(ABC):
    """uint8 images [N, C, H, W] -> Features. Two figures are comparable only if their extractors' hashes are equal."""

    suffix: ClassVar[str]
    """After the name of a figure: "" for Inception, whose figures alone are called FID, sFID, IS and KID."""

    dimensions: int
    """D."""

    hash: str
    """SHA-256 of the weights, hexadecimal."""

    classes: Sequence[str] = ()
    """Names of the classes of its probabilities, where a model could be asked for them."""

    about: dict[str, Any]
    """What a reader of a figure should know beside name and hash: JSON values."""

    @abstractmethod
    def __call__(self, pixels: Tensor) -> Features:
        """uint8 [N, C, H, W], gray or RGB, any size, to features on the CPU."""

    def title(self, kind: str) -> str:
        """What a figure of these features is called: FD is FID for Inception, FD-digits for the digits' classifier."""
        if self.suffix:
            return f"{kind}{self.suffix}"
        return {"FD": "FID", "sFD": "sFID"}.get(kind, kind)


def rgb(pixels: Tensor) -> Tensor:
    """Three channels: gray is repeated, what is transparent is laid on white.

    Raises:
        FromNoiseError: another number of channels than 1, 3 or 4.
    """
    channels = pixels.shape[1]
    if channels not in (1, 3, 4):
        raise FromNoiseError(f"features are of gray, RGB or RGBA images, and these have {channels} channels")
    return pixels.expand(-1, 3, -1, -1) if channels == 1 else laid_on(pixels, "white") if channels == 4 else pixels


def gray(pixels: Tensor) -> Tensor:
    """One channel, float32 0..255: Rec. 601 luma of RGB."""
    if pixels.shape[1] == 1:
        return pixels.float()
    x = rgb(pixels).float()
    return (x * x.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
