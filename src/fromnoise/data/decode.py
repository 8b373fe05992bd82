"""One image file, opened: what its content says counts, not its name."""

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

# Formats whose decoders read pixels and nothing else: no document, no video, no call to another program.
_HARMLESS = (
    "AVIF", "BMP", "DDS", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF", "WEBP",
)  # fmt: skip

_LARGEST = 2**30
"""Bytes of a file: no image that Pillow takes for harmless needs more, and some decoders read a file whole."""
_LARGEST_JPEG = 300_000_000
"""Pixels of a JPEG, which is read at an eighth of its size or less where it is that large."""

_SUBFILE_TYPE, _SMALLER_COPY, _MASK = 254, 1, 4
"""A tag of TIFF, and two of its bits."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
HEIF_WAY = 'HEIC, which needs pip install "fromnoise[heif]"'


class NeedsHEIF(ValueError):
    """A picture of a telephone, where pillow-heif is not installed."""


@cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read; HEIF where pillow-heif is installed."""
    Image.init()
    if importlib.util.find_spec("pillow_heif") is not None:
        import pillow_heif  # pyrefly: ignore[missing-import]

        pillow_heif.register_heif_opener()
    return tuple(name for name in (*_HARMLESS, "HEIF") if name in Image.OPEN)


@cache
def endings() -> frozenset[str]:
    """Of the files that are read: .png, .jpg, ..."""
    known = formats()
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in known)


@contextmanager
def opened(path: Path, size: tuple[int, int] | None = None, page: int = 0) -> Iterator[Image.Image]:
    """An image whose pixels are decoded inside the block. A bomb is a broken image, not a warning.

    Args:
        path: of the file.
        size: (height, width) that it will be brought to; a JPEG too large for memory is then decoded at a half, a
            quarter or an eighth of its size.
        page: of a file that holds several.

    Raises:
        Unreadable: no file, or not to be read.
        Exception: whatever its decoder raises.
    """
    with files.opened(path) as file:
        insist_on_size(os.fstat(file.fileno()).st_size, path)
        with decoded(file, size) as image:
            if page:
                image.seek(page)
            yield image


def insist_on_size(length: int, where: object) -> None:
    """That an encoded image of so many bytes may be read.

    Raises:
        Unreadable: it is too large to be an image.
    """
    if length > _LARGEST:
        raise files.Unreadable(f"{where}: has {length:,} bytes, and an image at most {_LARGEST:,}")


@contextmanager
def decoded(file: BinaryIO, size: tuple[int, int] | None = None) -> Iterator[Image.Image]:
    """The same of a file that is open, and stands at the image's first byte, which is its own first byte too."""
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
        raise ValueError("no image of a format that is read") from None
    with image:
        yield image


def own_pages(image: Image.Image) -> list[int]:
    """Of a TIFF: the pages that are not another one's smaller copy or its mask; of anything else the first."""
    found = []
    for page in range(getattr(image, "n_frames", 1) if image.format == "TIFF" else 0):
        image.seek(page)
        kind = getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE, 0)
        found += [] if kind & (_SMALLER_COPY | _MASK) else [page]
    return found or [0]


def _large_jpeg(image: JpegImageFile, size: tuple[int, int] | None) -> JpegImageFile:
    pixels = image.width * image.height
    if pixels > _LARGEST_JPEG:
        raise ValueError(f"{pixels / 1e6:.3g} megapixels, and a JPEG has at most {_LARGEST_JPEG / 1e6:.3g}")
    if size is None:
        raise ValueError(f"{pixels / 1e6:.3g} megapixels; give data.size, to which it is reduced")
    side = 2 * max(size)  # twice what is wanted, for the filter that comes after; whichever way it lies
    image.draft(None, (side, side))  # pyrefly: ignore[bad-argument-type]
    if image.width * image.height > (Image.MAX_IMAGE_PIXELS or pixels):
        raise ValueError(f"{pixels / 1e6:.3g} megapixels, too large for a data.size of {max(size)}")
    return image


def problem(path: Path) -> Exception | None:
    """Why a file cannot be opened as an image; None if it can."""
    try:
        with opened(path):
            return None
    except Exception as error:  # decoders raise a dozen kinds
        return error


def why(where: object, error: Exception) -> str:
    """The file, or the place in one, and what was wrong, in one line."""
    if isinstance(error, files.Unreadable):
        return str(error)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return files.one_line(f"{where} ({files.one_line(reason)})")
