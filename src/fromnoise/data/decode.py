"""Open one image file; its format is determined by its content, not by its name."""

import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from fromnoise.system.disk import files

# Formats whose decoders only read pixels: no documents, no videos, no calls to other programs.
_HARMLESS = (
    "AVIF", "BMP", "DDS", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF", "WEBP",
)  # fmt: skip

_LARGEST = 2**30
"""Most bytes of a file: no image within Pillow's limits needs more, and some decoders read whole files."""
_LARGEST_JPEG = 300_000_000
"""Most pixels of a JPEG: one beyond Pillow's limit is decoded at down to an eighth of its size."""

_SUBFILE_TYPE, _SMALLER_COPY, _MASK = 254, 1, 4
"""A tag of TIFF, and two bits of its value."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
HEIF_WAY = 'HEIC, which needs pip install "fromnoise[heif]"'


class NeedsHEIF(ValueError):
    """A HEIC image, which phones write, but pillow-heif is not installed."""


@cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the supported formats; HEIF only if pillow-heif is installed."""
    Image.init()
    if importlib.util.find_spec("pillow_heif") is not None:
        import pillow_heif  # pyrefly: ignore[missing-import]

        pillow_heif.register_heif_opener()
    return tuple(name for name in (*_HARMLESS, "HEIF") if name in Image.OPEN)


@cache
def endings() -> frozenset[str]:
    """The file endings of the supported formats: .png, .jpg, ..."""
    known = formats()
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in known)


@contextmanager
def opened(path: Path, size: tuple[int, int] | None = None, page: int = 0) -> Iterator[Image.Image]:
    """Open an image, whose pixels are decoded inside the block. A decompression bomb is an error, not a warning.

    Args:
        path: path of the file.
        size: (height, width) that the image will be resized to; with it, a JPEG beyond Pillow's limit is decoded at a
            half, a quarter or an eighth of its size.
        page: index of the page in a file that holds several.

    Raises:
        Unreadable: the file does not exist or cannot be read.
        Exception: any exception of the decoder.
    """
    with files.opened(path) as file:
        insist_on_size(os.fstat(file.fileno()).st_size, path)
        with decoded(file, size) as image:
            if page:
                image.seek(page)
            yield image


def insist_on_size(length: int, where: object) -> None:
    """Check the length, in bytes, of an encoded image.

    Raises:
        Unreadable: the length is too large for an image.
    """
    if length > _LARGEST:
        raise files.Unreadable(f"{where}: has {length:,} bytes, but an image may have at most {_LARGEST:,}")


@contextmanager
def decoded(file: BinaryIO, size: tuple[int, int] | None = None) -> Iterator[Image.Image]:
    """`opened` for a file that is already open, and that begins with the image's first byte."""
    head = file.read(12)
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file, formats=formats())
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        if not head.startswith(b"\xff\xd8\xff"):
            raise
        file.seek(0)
        image = _large_jpeg(JpegImageFile(file), size)
    except UnidentifiedImageError:
        if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
            raise NeedsHEIF(HEIF_WAY) from None
        raise ValueError("not an image of a supported format") from None
    with image:
        yield image


def own_pages(image: Image.Image) -> list[int]:
    """The pages that are images: for a TIFF, all but smaller copies and masks of others; otherwise the first."""
    found = []
    for page in range(getattr(image, "n_frames", 1) if image.format == "TIFF" else 0):
        image.seek(page)
        kind = getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE, 0)
        found += [] if kind & (_SMALLER_COPY | _MASK) else [page]
    return found or [0]


def _large_jpeg(image: JpegImageFile, size: tuple[int, int] | None) -> JpegImageFile:
    pixels = image.width * image.height
    if pixels > _LARGEST_JPEG:
        raise ValueError(f"{pixels / 1e6:.3g} megapixels, but a JPEG may have at most {_LARGEST_JPEG / 1e6:.3g}")
    if size is None:
        raise ValueError(f"{pixels / 1e6:.3g} megapixels; give data.size to shrink it")
    side = 2 * max(size)  # twice the target, for the resampling filter; in either orientation
    image.draft(None, (side, side))  # pyrefly: ignore[bad-argument-type]
    if image.width * image.height > (Image.MAX_IMAGE_PIXELS or pixels):
        raise ValueError(f"{pixels / 1e6:.3g} megapixels, too large for a data.size of {max(size)}")
    return image


def problem(path: Path) -> Exception | None:
    """The error with which a file cannot be opened as an image; None if it can."""
    try:
        with opened(path):
            return None
    except Exception as error:  # decoders raise a dozen kinds
        return error


def why(where: object, error: Exception) -> str:
    """One line with the location of an image and what is wrong with it."""
    if isinstance(error, files.Unreadable):
        return str(error)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return files.one_line(f"{where} ({files.one_line(reason)})")
