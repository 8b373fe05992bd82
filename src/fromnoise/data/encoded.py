"""Images that are still encoded, wherever they lie: what decodes them asks no more of a folder than of an archive."""

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
"""Images of archives whose headers are read, where size and channels are given."""


class MixedSizes(FromNoiseError):
    """Images of several sizes, and no word of the one that is wanted."""


class Encoded(ABC):
    """N numbered images, not decoded yet.

    Attributes:
        name: of the whole, for messages and reports.
        classes: names of the classes; empty where there are none.
        labels: int64 [N], -1 where there is none.
        captions: one each, or none at all.
        notes: what was left out while they were looked for, a line each.
        broken: what has an image's name and cannot be read, a line each.
        looked_into: whether each is opened before training begins, rather than a sample of them where the size and the
            colours are given; what is broken among the others is found when it is asked for.
        paged: whether each page of a file has a number of its own.
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
        """A Pillow image that is decoded inside the block; see `decode.opened`."""

    @abstractmethod
    def where(self, index: int) -> str:
        """The image's place, for messages."""


def load_encoded(
    source: Encoded, config: DataConfig, progress: Progress | None = None, beside: Encoded | None = None
) -> Images:
    """The same as Images: in memory if they fit into `config.memory` MB, else decoded when they are asked for.

    Every one is opened once to learn its size and mode; one that cannot be read, whatever its decoder raises, is left
    out, counted and named in `notes`. Images of floating point numbers have one scale, which is that of all of them
    and is stated.

    Args:
        source: the images.
        config: size, channels, fit, background, memory, keep_depth.
        progress: as Progress says.
        beside: of each image another one that the network is shown; the result is then `pairs.Pairs`.

    Raises:
        FromNoiseError: none can be read, or sizes that differ while `data.size` is not given.
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
    """(channels, height, width) that images are brought to.

    Raises:
        FromNoiseError: their sizes differ while `data.size` is not given, or channels that they cannot have.
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
    """What the headers say: who can be read, sizes, whether all is gray, and the scale of floating point pixels.

    Args:
        source, config, progress: see `load_encoded`.
        sampled: whether a sample of `LOOKED_INTO` is enough in any case.
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
                self.broken = []  # they are met, and named, when they are asked for
                return
            self.sizes.clear()
            self.broken, self.paged = [], 0
        wrong = self._look(range(n), progress("reading headers", n) if progress else None)
        self.good = np.delete(self.good, wrong)

    def _look(self, numbers: Sequence[int], tick: Callable[[], None] | None) -> list[int]:
        """The numbers of those that cannot be read."""
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
    """Encoded images that are decoded when they are asked for.

    One that breaks after the headers were read is replaced by the next one that works, always the same, and named once
    in a warning, in the process that decodes it (`Feed` hands on those of loader processes).

    Args:
        source: where they lie.
        numbers: of those in it that are examples, [N].
        shape: (C, H, W) that they are brought to.
        fit, background: see DataConfig.
        floats: the scale of floating point pixels; None takes each image's own.
        keep_depth: gray images as float32 in [-1, 1], with all digits that they have.
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
        """Each image's channels are followed by those of the one beside it, so that the two are never parted."""
        c, h, w = self.shape
        self.beside, self.shape = beside, (c + beside.shape[0], h, w)

    def read(self, index: int) -> np.ndarray:
        """One image, with what stands beside it; as `read_own`."""
        own = self.read_own(index)
        return own if self.beside is None else np.concatenate([own, self.beside.read(index)])

    def read_own(self, index: int) -> np.ndarray:
        """One image, uint8 or float32 [C, H, W]; raises what Pillow raises, which may be anything."""
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
                    warnings.warn(f"{self.why(i, error)}; the next image stands in", stacklevel=2)
        raise FromNoiseError(f"{self.name}: none of its {len(self)} images can be read any more")

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        items = [self[i] for i in indices]
        return torch.stack([pixels for pixels, _ in items]), torch.tensor([label for _, label in items])

    def read_all(self, progress: Progress | None = None) -> tuple[InMemory, list[str]]:
        """Every image decoded into memory, and a line for each that could not be."""
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
