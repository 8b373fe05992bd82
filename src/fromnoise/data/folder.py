"""Any folder of images: nested, any format, any size; the class of an image is its top sub-folder."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from fromnoise.data._fit import is_gray, to_array, to_channels, to_size, upright_size
from fromnoise.data.config import DataConfig
from fromnoise.data.images import Images, InMemory
from fromnoise.disk import files
from fromnoise.errors import FromNoiseError

# Formats whose decoders read pixels and nothing else: no document, no video, no call to another program.
_HARMLESS = (
    "AVIF", "BMP", "DDS", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF", "WEBP",
)  # fmt: skip
Image.init()
FORMATS = tuple(name for name in _HARMLESS if name in Image.OPEN)

_LARGEST = 2**30
"""Bytes of a file: no image that Pillow takes for harmless needs more, and some decoders read a file whole."""

Broken = list[tuple[Path, Exception]]
"""Files that cannot be read, and why."""


def load_folder(config: DataConfig, progress: Callable[[str, int], Callable[[], None]] | None = None) -> Images:
    """The folder `config.name` as Images: in memory if it fits into `config.memory` MB, else streamed.

    Every file is opened once to learn its size and mode; one that cannot be read, whatever its decoder raises, is left
    out, counted and named in `notes`; so is what has an image's name and is no file, and a folder that nobody can list.

    Raises:
        FromNoiseError: no such folder, no image in it, none that can be read, or sizes that differ while
            `data.size` is not given.
    """
    root = files.expanded(config.name)
    paths, broken = _files(root)
    total = len(paths) + len(broken)
    if not total:
        raise FromNoiseError(f"{root}: no image in this folder or below it ({', '.join(f.lower() for f in FORMATS)})")
    tick = progress("reading headers", len(paths)) if progress else None
    good, sizes, gray = [], Counter(), True
    for path in paths:
        try:
            with _opened(path) as image:
                size, without_colour = upright_size(image), is_gray(image.mode)
        except Exception as error:  # decoders raise a dozen kinds
            broken.append((path, error))
        else:
            sizes[size] += 1
            gray = gray and without_colour
            good.append(path)
        if tick:
            tick()
    if not good:
        raise FromNoiseError(f"{root}: none of its {total} images can be read; the first: {_why(*broken[0])}")
    if config.hw is None and len(sizes) > 1:
        (h, w), _ = sizes.most_common(1)[0]
        raise FromNoiseError(
            f"{root}: images have {len(sizes)} different sizes; give data.size, e.g. data.size={max(h, w)}"
        )
    size = config.hw or next(iter(sizes))
    channels = config.channels or (1 if gray else 3)
    folder = Folder(root, good, (channels, *size), config.fit)
    if len(good) * channels * size[0] * size[1] <= config.memory * 2**20:
        loaded, more = folder.read_all(progress)
        return _noted(loaded, broken + more, total)
    return _noted(folder, broken, total)


def _noted(images: Images, broken: Broken, total: int) -> Images:
    if broken:
        named = "; ".join(_why(*b) for b in broken[:3]) + ("; ..." if len(broken) > 3 else "")
        images.notes = [f"skipped {len(broken)} of {total} files that cannot be read: {named}"]
    return images


class Folder(Images):
    """Image files that are decoded when they are asked for.

    A file that breaks after the headers were read is replaced by the next one that works, always the same,
    and named once in a warning.
    """

    in_memory = False

    def __init__(self, root: Path, paths: Sequence[Path], shape: tuple[int, int, int], fit: str):
        self.name, self.paths, self.shape, self.fit = root.name or str(root), list(paths), shape, fit
        tops = [p.relative_to(root).parts for p in self.paths]
        self.classes = sorted({parts[0] for parts in tops if len(parts) > 1})
        number = {name: i for i, name in enumerate(self.classes)}
        self.labels = torch.tensor([number[parts[0]] if len(parts) > 1 else -1 for parts in tops])
        self.notes: Sequence[str] = []
        self._warned: set[int] = set()

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> np.ndarray:
        """One image, uint8 [C, H, W]; raises what Pillow raises, which may be anything."""
        with _opened(self.paths[index]) as image:
            fitted = to_size(to_channels(image, self.shape[0]), self.shape[1:], self.fit)
        return to_array(fitted)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        for offset in range(len(self)):
            i = (index + offset) % len(self)
            try:
                return torch.from_numpy(self.read(i).copy()), int(self.labels[i])
            except Exception as error:
                if i not in self._warned:
                    self._warned.add(i)
                    warnings.warn(f"{_why(self.paths[i], error)}; the next image stands in", stacklevel=2)
        raise FromNoiseError(f"{self.name}: none of its {len(self)} images can be read any more")

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        items = [self[i] for i in indices]
        return torch.stack([pixels for pixels, _ in items]), torch.tensor([label for _, label in items])

    def read_all(self, progress: Callable[[str, int], Callable[[], None]] | None = None) -> tuple[InMemory, Broken]:
        """Every image decoded into memory, and those that could not be."""
        tick = progress("reading images", len(self)) if progress else None
        pixels = np.empty((len(self), *self.shape), np.uint8)
        kept, broken = [], []
        for i in range(len(self)):
            try:
                pixels[len(kept)] = self.read(i)
                kept.append(i)
            except Exception as error:
                broken.append((self.paths[i], error))
            if tick:
                tick()
        if not kept:
            raise FromNoiseError(
                f"{self.name}: none of its {len(self)} images can be read; the first: {_why(*broken[0])}"
            )
        labels = self.labels[kept] if self.classes else None
        return InMemory(self.name, torch.from_numpy(pixels[: len(kept)]), labels, self.classes), broken


def read_image(path: Path, channels: int, size: tuple[int, int] | None, fit: str = "crop") -> Tensor:
    """One file, uint8 [C, H, W]; at its own size unless one is given.

    Raises:
        FromNoiseError: no such file, or one that cannot be read.
    """
    try:
        with _opened(path) as image:
            fitted = to_channels(image, channels)
            return torch.from_numpy(to_array(fitted if size is None else to_size(fitted, size, fit)).copy())
    except files.Unreadable:
        raise
    except Exception as error:
        raise FromNoiseError(f"{_why(path, error)} cannot be read as an image") from None


def _files(root: Path) -> tuple[list[Path], Broken]:
    """Files that are named like images, sorted, and what cannot be one: folders that are empty or cannot be listed."""
    known = {ext for ext, kind in Image.registered_extensions().items() if kind in FORMATS}
    found: list[Path] = []
    broken: Broken = []
    seen: set[str] = set()  # links may lead back up

    def unlisted(error: OSError) -> None:
        broken.append((Path(error.filename), error))

    for folder, below, names in os.walk(root, onerror=unlisted, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        if not names and not below and Path(folder).suffix.lower() in known:
            broken.append((Path(folder), files.Unreadable(f"{folder}: is an empty folder, not a file")))
        found += (
            Path(folder, name) for name in names if Path(name).suffix.lower() in known and not name.startswith(".")
        )
    return sorted(found), sorted(broken, key=lambda entry: entry[0])


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image whose pixels are decoded inside the block. A bomb is a broken image, not a warning.

    Raises:
        Unreadable: no file, or not to be read.
        Exception: whatever its decoder raises.
    """
    with files.opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _LARGEST:
            raise files.Unreadable(f"{path}: has {size:,} bytes, and an image at most {_LARGEST:,}")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file, formats=FORMATS)
        with image:
            yield image


def _why(path: Path, error: Exception) -> str:
    """The file and what was wrong, in one line."""
    if isinstance(error, files.Unreadable):
        return str(error)
    if isinstance(error, UnidentifiedImageError):  # it names a file object
        error = ValueError("no image of a format that is read")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return files.one_line(f"{path} ({files.one_line(reason)})")
