"""Bring one Pillow image to the channels and the size that a network needs."""

import numpy as np
import torch
from PIL import ExifTags, Image, ImageColor, ImageOps
from torch import Tensor

GRAY_MODES = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> the transform that makes the image upright."""
_QUARTER_TURNS = tuple(_TURNS[i] for i in (5, 6, 7, 8))


def is_gray(mode: str) -> bool:
    """Whether a Pillow mode has no colour (gray with transparency included)."""
    return mode in GRAY_MODES or mode in ("LA", "La")


_BLACK_AND_WHITE = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (0.0, 65535.0))
"""The common scales of floating point pixels: (black, white)."""


class Floats:
    """The common scale of floating point images: which value is black and which is white.

    It is the first of 0..1, -1..1, 0..255 and 0..65535 that contains all values seen, or else their own range.
    """

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf

    def see(self, image: Image.Image) -> None:
        """Take the values of an image into account if its pixels are floating point.

        Raises:
            ValueError: some values are not finite.
        """
        if image.mode == "F":
            self.see_values(np.asarray(image, np.float64))

    def see_values(self, values: np.ndarray) -> None:
        """Take the values of an array into account; see `see`."""
        _insist_on_finite(values)
        self.low, self.high = min(self.low, values.min()), max(self.high, values.max())

    @property
    def seen(self) -> bool:
        """Whether any image had floating point pixels."""
        return self.low <= self.high

    @property
    def ends(self) -> tuple[float, float]:
        """(black, white)."""
        for black, white in _BLACK_AND_WHITE:
            if black <= self.low and self.high <= white:
                return black, white
        return float(self.low), float(self.high)

    def notes(self) -> list[str]:
        """A line about the scale; an empty list if no image has floating point pixels."""
        if not self.seen:
            return []
        black, white = self.ends
        return [f"floating point pixels from {self.low:.6g} to {self.high:.6g}: {black:.6g} is black and {white:.6g} "
                "is white"]  # fmt: skip


def _insist_on_finite(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        what = "NaN" if np.isnan(values).any() else "infinity"
        raise ValueError(f"{what} among its floating point pixels")


def to_channels(
    image: Image.Image, channels: int, background: str = "white", floats: Floats | None = None
) -> Image.Image:
    """The image as 8-bit gray, RGB or RGBA, turned upright according to its EXIF.

    Args:
        image: an open image.
        channels: 1, 3 or 4; with 1 and 3 a transparent image is laid on the background, with 4 it stays transparent.
        background: a colour by name or #rrggbb.
        floats: the scale of floating point pixels; None for the image's own.

    Raises:
        ValueError: floating point pixels are not finite, or `floats` has seen none.
    """
    image = _upright(image)
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray((255 * _share(image, floats)).round().astype(np.uint8))
    clear = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    if channels == 4:
        return image.convert("RGBA")
    wanted = "L" if channels == 1 else "RGB"
    if clear:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image)
    return image if image.mode == wanted else image.convert(wanted)


def to_share(image: Image.Image, floats: Floats | None = None) -> Image.Image:
    """The image in gray, upright, as floating point numbers from 0 (black) to 1 (white); see `to_channels`."""
    image = _upright(image)
    if not (image.mode == "F" or image.mode.startswith("I")):
        return Image.fromarray(np.asarray(to_channels(image, 1), np.float32) / 255)
    return Image.fromarray(_share(image, floats).astype(np.float32))


def _share(image: Image.Image, floats: Floats | None) -> np.ndarray:
    """The pixels of a floating point or 16-bit image, scaled to [0, 1]."""
    values = np.asarray(image, np.float64)
    if image.mode != "F":
        return values.clip(0, 65535) / 65535  # independent of the brightest pixel
    if floats is None:
        floats = Floats()
        floats.see(image)
    if not floats.seen:
        raise ValueError("floating point pixels, but none in the sample of images that was checked: leave "
                         "data.channels out (null), so that all are checked")  # fmt: skip
    _insist_on_finite(values)
    black, white = floats.ends
    return ((values - black) / max(white - black, 1e-300)).clip(0, 1)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """The (height, width) of the result of `to_channels`, without decoding the image's pixels."""
    turned = (
        "exif" in image.info and image.format != "TIFF" and _turn(image) in _QUARTER_TURNS
    )  # Pillow turns a TIFF by itself
    return (image.width, image.height) if turned else (image.height, image.width)


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The transform that makes the image upright according to its EXIF; None if there is none or it cannot be read.

    Pillow's own `exif_transpose` rewrites the other tags, and fails if one has the wrong type.
    """
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # malformed tags make Pillow raise many kinds of errors
        return None


def to_size(image: Image.Image, size: tuple[int, int], fit: str) -> Image.Image:
    """The image at (height, width); for `fit` see `DataConfig.fit`."""
    height, width = size
    if image.size == (width, height):
        return image
    if fit == "stretch":
        return image.resize((width, height), Image.Resampling.LANCZOS)
    if fit == "crop":
        return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    scale = min(width / image.width, height / image.height)
    if scale < 1:  # a thin image keeps at least one pixel
        inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(inner, Image.Resampling.LANCZOS)
    ground = Image.new(image.mode, (width, height), image.getpixel((0, 0)))  # pyrefly: ignore[bad-argument-type]
    ground.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return ground


def laid_on(pixels: Tensor, background: str) -> Tensor:
    """Lay uint8 RGBA images [N, 4, H, W] on a background colour: RGB [N, 3, H, W]."""
    opacity = pixels[:, 3:].float() / 255
    ground = torch.tensor(ImageColor.getrgb(background)[:3]).view(3, 1, 1)
    return (pixels[:, :3] * opacity + ground * (1 - opacity)).round().to(torch.uint8)


def to_array(image: Image.Image) -> np.ndarray:
    """The pixels of an 8-bit image: uint8 [C, H, W]."""
    pixels = np.asarray(image, np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
