"""Any folder of images: nested, any format, any size; the class of an image is its top sub-folder."""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fromnoise.data._scan import Broken, scan
from fromnoise.data.captions import captions_of
from fromnoise.data.config import DataConfig
from fromnoise.data.decode import formats, opened, why
from fromnoise.data.fitting import Floats, is_gray, to_array, to_channels, to_size, upright_size
from fromnoise.data.images import Images, InMemory
from fromnoise.disk import files
from fromnoise.errors import FromNoiseError


class MixedSizes(FromNoiseError):
    """Images of several sizes, and no word of the one that is wanted."""


def load_folder(config: DataConfig, progress: Callable[[str, int], Callable[[], None]] | None = None) -> Images:
    """The folder `config.name` as Images: in memory if it fits into `config.memory` MB, else streamed.

    Every file is opened once to learn its size and mode; one that cannot be read, whatever its decoder raises, is left
    out, counted and named in `notes`; so is what has an image's name and is no file, and a folder that nobody can list.
    Files that are no images are counted there too, with the way to use them. Images of floating point numbers have one
    scale, which is that of the whole folder and is stated.

    Raises:
        FromNoiseError: no such folder, no image in it, none that can be read, or sizes that differ while
            `data.size` is not given.
    """
    root = files.expanded(config.name)
    found = scan(root)
    broken, total = found.broken, len(found.paths) + len(found.broken)
    if not total:
        known = ", ".join(name.lower() for name in formats())
        raise FromNoiseError("; ".join([f"{root}: no image in this folder or below it ({known})", *found.notes()]))
    tick = progress("reading headers", len(found.paths)) if progress else None
    good, sizes, gray, floats = [], Counter(), True, Floats()
    for path in found.paths:
        try:
            with opened(path, config.hw) as image:
                size, without_colour = upright_size(image), is_gray(image.mode)
                floats.see(image)
        except Exception as error:  # decoders raise a dozen kinds
            broken.append((path, error))
        else:
            sizes[size] += 1
            gray = gray and without_colour
            good.append(path)
        if tick:
            tick()
    if not good:
        raise FromNoiseError(f"{root}: none of its {total} images can be read; the first: {why(*broken[0])}")
    if config.hw is None and len(sizes) > 1:
        (h, w), _ = sizes.most_common(1)[0]
        raise MixedSizes(
            f"{root}: images have {len(sizes)} different sizes; give data.size, e.g. data.size={max(h, w)}"
        )
    size = config.hw or next(iter(sizes))
    channels = config.channels or (1 if gray else 3)
    captions, unread = captions_of(good, found.beside)
    folder = Folder(root, good, (channels, *size), config.fit, config.background, floats, captions)
    said = [*found.notes(), *floats.notes(), *unread]
    if len(good) * channels * size[0] * size[1] <= config.memory * 2**20:
        loaded, more = folder.read_all(progress)
        return _noted(loaded, broken + more, total, said)
    return _noted(folder, broken, total, said)


def _noted(images: Images, broken: Broken, total: int, said: Sequence[str]) -> Images:
    skipped = []
    if broken:
        named = "; ".join(why(*b) for b in broken[:3]) + ("; ..." if len(broken) > 3 else "")
        skipped = [f"skipped {len(broken)} of {total} files that cannot be read: {named}"]
    images.notes = [*skipped, *said]
    return images


class Folder(Images):
    """Image files that are decoded when they are asked for.

    A file that breaks after the headers were read is replaced by the next one that works, always the same,
    and named once in a warning.
    """

    in_memory = False

    def __init__(
        self, root: Path, paths: Sequence[Path], shape: tuple[int, int, int], fit: str, background: str = "white",
        floats: Floats | None = None, captions: Sequence[str] = (),
    ):  # fmt: skip
        self.name, self.paths, self.shape, self.fit = root.name or str(root), list(paths), shape, fit
        self.background, self.floats, self.captions = background, floats, captions
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
        with opened(self.paths[index], self.shape[1:]) as image:
            upright = to_channels(image, self.shape[0], self.background, self.floats)
            fitted = to_size(upright, self.shape[1:], self.fit)
        return to_array(fitted)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        for offset in range(len(self)):
            i = (index + offset) % len(self)
            try:
                return torch.from_numpy(self.read(i).copy()), int(self.labels[i])
            except Exception as error:
                if i not in self._warned:
                    self._warned.add(i)
                    warnings.warn(f"{why(self.paths[i], error)}; the next image stands in", stacklevel=2)
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
                f"{self.name}: none of its {len(self)} images can be read; the first: {why(*broken[0])}"
            )
        labels = self.labels[kept] if self.classes else None
        captions = [self.captions[i] for i in kept] if self.captions else ()
        held = torch.from_numpy(pixels[: len(kept)])
        return InMemory(self.name, held, labels, self.classes, captions=captions), broken


def read_image(path: Path, channels: int, size: tuple[int, int] | None, fit: str = "crop") -> Tensor:
    """One file, uint8 [C, H, W]; at its own size unless one is given.

    Raises:
        FromNoiseError: no such file, or one that cannot be read.
    """
    try:
        with opened(path, size) as image:
            fitted = to_channels(image, channels)
            return torch.from_numpy(to_array(fitted if size is None else to_size(fitted, size, fit)).copy())
    except files.Unreadable:
        raise
    except Exception as error:
        raise FromNoiseError(f"{why(path, error)} cannot be read as an image") from None
