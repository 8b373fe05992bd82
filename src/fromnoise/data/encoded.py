"""Images in encoded form (PNG, JPEG, ...), and their decoding, for folders, archives and tables alike."""

import math
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fromnoise.data.config import DataConfig
from fromnoise.data.decode import own_pages, why
from fromnoise.data.fitting import Floats, is_gray, to_array, to_channels, to_share, to_size, upright_size
from fromnoise.data.images import Images, InMemory, Progress, spread
from fromnoise.data.pairs import Pairs
from fromnoise.errors import FromNoiseError

LOOKED_INTO = 1000
"""How many headers of an archive's images are read before training if size and channels are given."""


class MixedSizes(FromNoiseError):
    """Images have different sizes, and `data.size` is not given."""


class Encoded(ABC):
    """N numbered images that are not decoded yet.

    Attributes:
        name: name of the data set in messages and reports.
        classes: names of the classes; empty if there are none.
        labels: int64 [N], -1 for images without a label.
        captions: one caption per image, or empty.
        notes: lines about files that were left out.
        broken: a line for each file with an image's name that cannot be read.
        looked_into: whether every image is opened before training begins. Otherwise only a sample is opened if size and
            channels are given, and further broken images are found when they are read.
        paged: whether each page of a file is an image of its own.
    """

    name: str
    classes: Sequence[str] = ()
    labels: Tensor
    captions: Sequence[str] = ()
    notes: Sequence[str] = ()
    broken: Sequence[str]
    looked_into: bool = True
    paged: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def opened(self, index: int, size: tuple[int, int] | None = None) -> AbstractContextManager[Image.Image]:
        """Open an image with Pillow; its pixels are decoded inside the block. See `decode.opened`."""

    @abstractmethod
    def where(self, index: int) -> str:
        """The location of an image, for messages."""


def load_encoded(
    source: Encoded, config: DataConfig, progress: Progress | None = None, beside: Encoded | None = None
) -> Images:
    """Load encoded images: into memory if they fit into `config.memory` MB, otherwise decoded when they are read.

    Images are first opened to find their sizes and modes (see `Encoded.looked_into`). Those that cannot be read are
    left out, and counted and named in `notes`. All images with floating point pixels share one scale, which `notes`
    states.

    Args:
        source: the images.
        config: uses size, channels, fit, background, memory and keep_depth.
        progress: see `Progress`.
        beside: a conditioning image for each image; the result is then a `pairs.Pairs`.

    Raises:
        FromNoiseError: no image can be read, or sizes differ and `data.size` is not given.
    """
    looked = Looked(source, config, progress)
    broken = [*source.broken, *looked.broken]
    told = None
    if beside is not None:
        told = Looked(beside, config.model_copy(update={"channels": None}), progress)
        looked.good, broken = np.intersect1d(looked.good, told.good), [*broken, *beside.broken, *told.broken]
    total = len(source) + len(source.broken)
    if not len(looked.good):
        first = broken[0] if broken else "nothing there"
        raise FromNoiseError(f"{source.name}: none of its {total} images can be read; the first: {first}")
    shape = shape_of(source.name, looked, config)
    images = Decoded(source, looked.good, shape, config.fit, config.background, looked.floats, config.keep_depth)
    if beside is not None and told is not None:
        other = (1 if told.gray else 3, *shape[1:])
        images.join(Decoded(beside, looked.good, other, config.fit, config.background, told.floats))
    said = [*source.notes, *looked.floats.notes()]
    if looked.paged:
        said.append(f"took the first page of {looked.paged:,} TIFF files of several; in a folder each page is an image")
    found: Images = images
    if math.prod(images.shape) * len(images) * (4 if config.keep_depth else 1) <= config.memory * 2**20:
        found, more = images.read_all(progress)
        broken += more
    _note(found, broken, total, said)
    return found if beside is None else Pairs(found, shape[0])


def shape_of(name: str, looked: "Looked", config: DataConfig) -> tuple[int, int, int]:
    """The shape (channels, height, width) that images are brought to.

    Raises:
        FromNoiseError: sizes differ and `data.size` is not given, or the images cannot have so many channels.
    """
    if config.hw is None and len(looked.sizes) > 1:
        (h, w), _ = looked.sizes.most_common(1)[0]
        raise MixedSizes(f"{name}: images have {len(looked.sizes)} different sizes; give data.size, e.g. "
                         f"data.size={max(h, w)}")  # fmt: skip
    size = config.hw or next(iter(looked.sizes))
    channels = config.channels or (1 if looked.gray else 3)
    if (config.keep_depth and channels != 1) or channels not in (1, 3, 4):
        raise FromNoiseError(f"{name}: images of {channels} channels; " + (
            "data.keep_depth is for gray ones: colours of more than 8 bits come in arrays (.npy)"
            if config.keep_depth else "files of images have 1, 3 or 4, and arrays (.npy) any number"))  # fmt: skip
    return channels, *size


class Looked:
    """What the headers say: which images can be read, their sizes, whether all are gray, the scale of float pixels.

    Args:
        source, config, progress: see `load_encoded`.
        sampled: whether to look only into a sample of `LOOKED_INTO` images.
    """

    def __init__(self, source: Encoded, config: DataConfig, progress: Progress | None, sampled: bool = False):
        self.source, self.hw = source, config.hw
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.gray, self.floats = True, Floats()
        self.paged = 0
        self.broken: list[str] = []
        n = len(source)
        self.good = np.arange(n)
        some = spread(n, LOOKED_INTO)
        if sampled:
            self._look(some, None)
            return
        if not source.looked_into and config.hw is not None and config.channels is not None and len(some) < n:
            wrong = self._look(some, None)
            if not self.floats.seen and len(wrong) < len(some):
                self.broken = []  # they are reported when they are read
                return
            self.sizes.clear()
            self.broken, self.paged = [], 0
        wrong = self._look(range(n), progress("reading headers", n) if progress else None)
        self.good = np.delete(self.good, wrong)

    def _look(self, numbers: Sequence[int], tick: Callable[[], None] | None) -> list[int]:
        """Look into images; return the numbers of those that cannot be read."""
        wrong = []
        for i in numbers:
            try:
                with self.source.opened(i, self.hw) as image:
                    size, without_colour = upright_size(image), is_gray(image.mode)
                    self.floats.see(image)
                    self.paged += not self.source.paged and len(own_pages(image)) > 1
            except Exception as error:  # decoders raise a dozen kinds
                wrong.append(i)
                self.broken.append(why(self.source.where(i), error))
            else:
                self.sizes[size] += 1
                self.gray = self.gray and without_colour
            if tick:
                tick()
        return wrong


def _note(images: Images, broken: Sequence[str], total: int, said: Sequence[str]) -> None:
    skipped = []
    if broken:
        named = "; ".join(broken[:3]) + ("; ..." if len(broken) > 3 else "")
        skipped = [f"skipped {len(broken)} of {total} files that cannot be read: {named}"]
    missing = images.captions.count("") if isinstance(images.captions, list) else 0
    without = [f"{missing:,} of {len(images):,} images have no caption"] if missing else []
    images.notes = [*skipped, *said, *without]


class Decoded(Images):
    """Encoded images that are decoded when they are read.

    An image that cannot be decoded is always replaced by the next one that can, and is named once in a warning (`Feed`
    forwards the warnings of loader processes).

    Args:
        source: the encoded images.
        numbers: the numbers of the images in `source` to use, [N].
        shape: (C, H, W) that images are brought to.
        fit, background: see `DataConfig`.
        floats: the scale of floating point pixels; None: each image has its own.
        keep_depth: whether images are gray, as float32 in [-1, 1] at their full precision.
    """

    in_memory = False

    def __init__(
        self, source: Encoded, numbers: np.ndarray, shape: tuple[int, int, int], fit: str, background: str = "white",
        floats: Floats | None = None, keep_depth: bool = False,
    ):  # fmt: skip
        self.source, self.numbers, self.name, self.shape = source, numbers, source.name, shape
        self.channels = shape[0]
        self.fit, self.background, self.floats, self.keep_depth = fit, background, floats, keep_depth
        self.classes, self.labels = source.classes, source.labels[torch.from_numpy(numbers)]
        every = len(numbers) == len(source)
        self.captions = source.captions if every or not source.captions else [source.captions[i] for i in numbers]
        self.beside: Decoded | None = None
        self.notes: Sequence[str] = []
        self._warned: set[int] = set()

    def __len__(self) -> int:
        return len(self.numbers)

    def join(self, beside: "Decoded") -> None:
        """Append the channels of a second set of images, one for each image, so that pairs always stay together."""
        c, h, w = self.shape
        self.beside, self.shape = beside, (c + beside.shape[0], h, w)

    def read(self, index: int) -> np.ndarray:
        """One image, with the channels of the image beside it; see `read_own`."""
        own = self.read_own(index)
        return own if self.beside is None else np.concatenate([own, self.beside.read(index)])

    def read_own(self, index: int) -> np.ndarray:
        """One image, uint8 or float32 [C, H, W]; raises any exception of Pillow."""
        with self.source.opened(int(self.numbers[index]), self.shape[1:]) as image:
            if self.keep_depth:
                return 2 * np.asarray(to_size(to_share(image, self.floats), self.shape[1:], self.fit))[None] - 1
            upright = to_channels(image, self.channels, self.background, self.floats)
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
                    warnings.warn(f"{self.why(i, error)}; the next image replaces it", stacklevel=2)
        raise FromNoiseError(f"{self.name}: none of its {len(self)} images can be read any more")

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        items = [self[i] for i in indices]
        return torch.stack([pixels for pixels, _ in items]), torch.tensor([label for _, label in items])

    def read_all(self, progress: Progress | None = None) -> tuple[InMemory, list[str]]:
        """Decode all images into memory; also returns a line for each one that cannot be decoded."""
        tick = progress("reading images", len(self)) if progress else None
        pixels = np.empty((len(self), *self.shape), np.float32 if self.keep_depth else np.uint8)
        kept, broken = [], []
        for i in range(len(self)):
            try:
                pixels[len(kept)] = self.read(i)
                kept.append(i)
            except Exception as error:
                broken.append(self.why(i, error))
            if tick:
                tick()
        if not kept:
            raise FromNoiseError(f"{self.name}: none of its {len(self)} images can be read; the first: {broken[0]}")
        labels = self.labels[kept] if len(self.classes) else None
        captions = [self.captions[i] for i in kept] if self.captions else ()
        held = torch.from_numpy(pixels[: len(kept)])
        return InMemory(self.name, held, labels, self.classes, captions=captions), broken

    def why(self, index: int, error: Exception) -> str:
        return why(self.source.where(int(self.numbers[index])), error)
