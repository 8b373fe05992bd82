"""One Pillow image to the colours and the size that a network wants."""

import numpy as np
from PIL import ExifTags, Image, ImageOps

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
"""EXIF's orientation -> what makes the image upright."""
_QUARTER_TURNS = tuple(_TURNS[i] for i in (5, 6, 7, 8))


def is_gray(mode: str) -> bool:
    """Whether a Pillow mode has no colour (gray with transparency included)."""
    return mode in GRAY_MODES or mode in ("LA", "La")


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Gray or RGB; transparency is laid on white, 16-bit gray is scaled to 8 bits, EXIF rotation is applied.

    Raises:
        ValueError: floating point pixels that are not finite.
    """
    image = _upright(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_8_bits(image)
    wanted = "L" if channels == 1 else "RGB"
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return image if image.mode == wanted else image.convert(wanted)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) as `to_channels` gives it, of an image whose pixels are not decoded yet."""
    turned = (
        "exif" in image.info and image.format != "TIFF" and _turn(image) in _QUARTER_TURNS
    )  # a TIFF knows by itself
    return (image.width, image.height) if turned else (image.height, image.width)


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the image upright, as its EXIF says; None where it lies right, or where that cannot be read.

    Pillow's own `exif_transpose` writes the other tags anew, and fails on those of a wrong type.
    """
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # strangers' tags break Pillow in as many ways as their pixels
        return None


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Whole numbers are of 16 bits, whatever the brightest pixel is: black is 0 and white 65535 in every image."""
    values = np.asarray(image, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("pixels that are not finite")
    top = 255 if image.mode == "F" and values.max(initial=0) <= 255 else 65535
    return Image.fromarray((values.clip(0, top) * (255 / top)).round().astype(np.uint8))


def to_size(image: Image.Image, size: tuple[int, int], fit: str) -> Image.Image:
    """The image at (height, width): see DataConfig.fit."""
    height, width = size
    if image.size == (width, height):
        return image
    if fit == "stretch":
        return image.resize((width, height), Image.Resampling.LANCZOS)
    if fit == "crop":
        return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    if image.width > width or image.height > height:
        image = ImageOps.contain(image, (width, height), Image.Resampling.LANCZOS)
    ground = Image.new(image.mode, (width, height), image.getpixel((0, 0)))  # pyrefly: ignore[bad-argument-type]
    ground.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return ground


def to_array(image: Image.Image) -> np.ndarray:
    """uint8 [C, H, W]."""
    pixels = np.asarray(image, np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
