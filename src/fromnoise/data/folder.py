"""Any folder of images: nested, any format, any size; the class of an image is its top sub-folder."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fromnoise.data._fit import is_gray, to_array, to_channels, to_size
from fromnoise.data.config import DataConfig
from fromnoise.data.images import Images, InMemory
from fromnoise.errors import FromNoiseError

# Formats whose decoders read pixels and nothing else: no document, no video, no call to another program.
_HARMLESS = (
    "AVIF", "BMP", "DDS", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF", "WEBP",
)  # fmt: skip
Image.init()
FORMATS = tuple(name for name in _HARMLESS if name in Image.OPEN)

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning)


def load_folder(config: DataConfig, progress: Callable[[str, int], Callable[[], None]] | None = None) -> Images:
    """The folder `config.name` as Images: in memory if it fits into `config.memory` MB, else streamed.

    Every file is opened once to learn its size and mode; one that cannot be read is left out, counted and
    named in `notes`.

    Raises:
        FromNoiseError: no such folder, no image in it, none that can be read, or sizes that differ while
            `data.size` is not given.
    """
    root = Path(config.name).expanduser()
    paths = sorted(_files(root))
    if not paths:
        raise FromNoiseError(f"{root}: no image in this folder or below it ({', '.join(f.lower() for f in FORMATS)})")
    tick = progress("reading headers", len(paths)) if progress else None
    good, sizes, gray, broken = [], Counter(), True, []
    for path in paths:
        try:
            with _open(path) as image:
                sizes[image.height, image.width] += 1
                gray = gray and is_gray(image.mode)
            good.append(path)
        except _BROKEN as error:
            broken.append((path, error))
        if tick:
            tick()
    if not good:
        raise FromNoiseError(f"{root}: none of its {len(paths)} images can be read; the first: {_why(*broken[0])}")
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
        return _noted(loaded, broken + more, len(paths))
    return _noted(folder, broken, len(paths))


def _noted(images: Images, broken: list[tuple[Path, Exception]], total: int) -> Images:
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
        """One image, uint8 [C, H, W]; raises what Pillow raises."""
        with _open(self.paths[index]) as image:
            fitted = to_size(to_channels(image, self.shape[0]), self.shape[1:], self.fit)
        return to_array(fitted)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        for offset in range(len(self)):
            i = (index + offset) % len(self)
            try:
                return torch.from_numpy(self.read(i).copy()), int(self.labels[i])
            except _BROKEN as error:
                if i not in self._warned:
                    self._warned.add(i)
                    warnings.warn(f"{_why(self.paths[i], error)}; the next image stands in", stacklevel=2)
        raise FromNoiseError(f"{self.name}: none of its {len(self)} images can be read any more")

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        items = [self[i] for i in indices]
        return torch.stack([pixels for pixels, _ in items]), torch.tensor([label for _, label in items])

    def read_all(
        self, progress: Callable[[str, int], Callable[[], None]] | None = None
    ) -> tuple[InMemory, list[tuple[Path, Exception]]]:
        """Every image decoded into memory, and those that could not be."""
        tick = progress("reading images", len(self)) if progress else None
        pixels = np.empty((len(self), *self.shape), np.uint8)
        kept, broken = [], []
        for i in range(len(self)):
            try:
                pixels[len(kept)] = self.read(i)
                kept.append(i)
            except _BROKEN as error:
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
        with _open(path) as image:
            fitted = to_channels(image, channels)
            return torch.from_numpy(to_array(fitted if size is None else to_size(fitted, size, fit)).copy())
    except FileNotFoundError:
        raise FromNoiseError(f"{path}: no such file") from None
    except _BROKEN as error:
        raise FromNoiseError(f"{_why(path, error)} cannot be read as an image") from None


def _files(root: Path) -> Iterator[Path]:
    known = {ext for ext, kind in Image.registered_extensions().items() if kind in FORMATS}
    seen: set[str] = set()  # links may lead back up
    for folder, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        for name in names:
            if Path(name).suffix.lower() in known and not name.startswith("."):
                yield Path(folder, name)


def _open(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # a bomb is a broken image, not a warning
        return Image.open(path, formats=FORMATS)


def _why(path: Path, error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"{path.name} ({text})" if path.name in text else f"{path} ({text})"
