"""A folder of images, possibly nested, of any format and size; the class of an image is its top subfolder."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fromnoise.data._scan import Found, scan
from fromnoise.data.captions import captions_of
from fromnoise.data.config import DataConfig
from fromnoise.data.decode import formats, opened, own_pages, why
from fromnoise.data.encoded import Encoded, load_encoded
from fromnoise.data.fitting import to_array, to_channels, to_size
from fromnoise.data.images import Images, Progress
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files


def load_folder(config: DataConfig, progress: Progress | None = None, found: Found | None = None) -> Images:
    """Load the images in the folder `config.name`; see `load_encoded`.

    The notes of the result name entries with an image's name that are not files, and folders that cannot be listed.
    They also count files that are not images, and say how such files can be converted.

    Args:
        config: uses name, size, channels, fit, background and memory.
        progress: see `Progress`.
        found: the result of `scan` for this folder, if there is one already.

    Raises:
        FromNoiseError: the folder does not exist, holds no image, or none that can be read; or sizes differ and
            `data.size` is not given.
    """
    root = files.expanded(config.name)
    found = found or scan(root)
    if not found.paths and not found.broken:
        known = ", ".join(name.lower() for name in formats())
        raise FromNoiseError("; ".join([f"{root}: no image in this folder or below it ({known})", *found.notes()]))
    return load_encoded(Files(root, found), config, progress)


class Files(Encoded):
    """The image files in a folder and its subfolders; each page of a multi-page TIFF is an image."""

    paged = True

    def __init__(self, root: Path, found: Found):
        self.name = root.name or str(root)
        self.paths, self.pages = _pages(found.paths)
        tops = [p.relative_to(root).parts for p in self.paths]
        self.classes = sorted({parts[0] for parts in tops if len(parts) > 1})
        number = {name: i for i, name in enumerate(self.classes)}
        self.labels: Tensor = torch.tensor([number[parts[0]] if len(parts) > 1 else -1 for parts in tops])
        self.captions, unread = captions_of(self.paths, found.beside)
        self.notes = [*found.notes(), *unread]
        self.broken = [why(*entry) for entry in found.broken]

    def __len__(self) -> int:
        return len(self.paths)

    def opened(self, index: int, size: tuple[int, int] | None = None) -> AbstractContextManager[Image.Image]:
        return opened(self.paths[index], size, int(self.pages[index]))

    def where(self, index: int) -> str:
        page = int(self.pages[index])
        return f"{self.paths[index]}, page {page + 1}" if page else str(self.paths[index])


def _pages(paths: Sequence[Path]) -> tuple[list[Path], np.ndarray]:
    """(each path, repeated for each of its pages; the number of the page)."""
    every, pages = [], []
    for path in paths:
        own = _own_pages(path) if path.suffix.lower() in (".tif", ".tiff") else [0]
        every += [path] * len(own)
        pages += own
    return every, np.array(pages, np.int32)


def _own_pages(path: Path) -> list[int]:
    try:
        with opened(path) as image:
            return own_pages(image)
    except Exception:  # the file is opened again later, and then reported
        return [0]


def read_image(path: Path, channels: int, size: tuple[int, int] | None, fit: str = "crop") -> Tensor:
    """Read one image file as uint8 [C, H, W].

    Args:
        path: path of the file.
        channels: 1, 3 or 4.
        size: (height, width) to bring the image to; None keeps its own.
        fit: see `DataConfig.fit`.

    Raises:
        FromNoiseError: the file does not exist or cannot be read.
    """
    try:
        with opened(path, size) as image:
            fitted = to_channels(image, channels)
            return torch.from_numpy(to_array(fitted if size is None else to_size(fitted, size, fit)).copy())
    except files.Unreadable:
        raise
    except Exception as error:
        raise FromNoiseError(f"{why(path, error)} cannot be read as an image") from None
