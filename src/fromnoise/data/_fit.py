"""One Pillow image to the colours and the size that a network wants."""

import numpy as np
from PIL import Image, ImageOps

GRAY_MODES = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L")


def is_gray(mode: str) -> bool:
    """Whether a Pillow mode has no colour (gray with transparency included)."""
    return mode in GRAY_MODES or mode in ("LA", "La")


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Gray or RGB; transparency is laid on white, 16-bit gray is scaled to 8 bits, EXIF rotation is applied."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        values = np.asarray(image, np.float64)
        top = 255 if values.max(initial=0) <= 255 else 65535
        image = Image.fromarray((values.clip(0, top) * (255 / top)).round().astype(np.uint8))
    wanted = "L" if channels == 1 else "RGB"
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return image if image.mode == wanted else image.convert(wanted)


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
