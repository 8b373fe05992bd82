"""Streamed data sets: .tar or .parquet shards, local or remote, a few of which are read side by side."""

import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from fromnoise.data import _remote as remote
from fromnoise.data import _shard, captions, huggingface
from fromnoise.data._ahead import StreamOrder
from fromnoise.data._cache import ShardCache
from fromnoise.data._lanes import Lanes
from fromnoise.data._opening import Kind, Shards
from fromnoise.data._shardlist import WRITE_ONE
from fromnoise.data.config import DataConfig
from fromnoise.data.encoded import Decoded, Looked, shape_of
from fromnoise.data.examples import digest, spread
from fromnoise.data.images import Images, Progress
from fromnoise.data.shard_index import find
from fromnoise.errors import FromNoiseError
from fromnoise.system import rng
from fromnoise.system.disk import files

_NAMED = 3
"""The first few images that cannot be read are named; later only the 10th, the 100th, ..."""


class Stream(Images):
    """The images in shards, of which only a few are open at a time; made by `stream` or `load`.

    Reading an image by its number opens its shard. Training reads images in the order of `Lanes`, which goes through
    the shards one after the other. An image that cannot be decoded is always replaced by the next readable one of
    its shard; warnings name the first three of them, then the 10th, the 100th and so on.

    Args:
        shards: the shards, which are opened on demand.
        name: name of the data set in messages.
        shape: (C, H, W).
        lanes: number of shards that are read side by side.
        dtype: uint8, or float32 with `data.keep_depth`.
        notes: lines for the user.
    """

    in_memory = False

    def __init__(
        self, shards: Shards, name: str, shape: tuple[int, int, int], lanes: int, dtype: torch.dtype,
        notes: Sequence[str] = (),
    ):  # fmt: skip
        self.shards, self.name, self.shape, self.lanes, self.dtype, self.notes = (
            shards,
            name,
            shape,
            lanes,
            dtype,
            notes,
        )
        self.sizes = shards.listed.sizes
        self.ends = np.cumsum(self.sizes)
        assert shards.kind is not None
        self.classes = shards.kind.names
        self.captions = _Captions(self) if shards.kind.captions else ()
        self.unread: dict[tuple[int, int], int] = {}  # unreadable images -> their replacements

    def __len__(self) -> int:
        return int(self.ends[-1])

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        pixels = torch.empty((len(indices), *self.shape), dtype=self.dtype)
        labels = torch.empty(len(indices), dtype=torch.int64)
        for images, shard, rows, numbers in self._by_shard(indices):
            for row, i in zip(rows, numbers, strict=True):
                pixels[row], labels[row] = self._read(images, shard, i)
        return pixels, labels

    def captions_of(self, indices: Sequence[int]) -> list[str]:
        """The captions of these images."""
        found = [""] * len(indices)
        for images, shard, rows, numbers in self._by_shard(indices):
            for row, i in zip(rows, numbers, strict=True):
                found[row] = images.captions[self.unread.get((shard, i), i)]
        return found

    def _by_shard(self, indices: Sequence[int]) -> Any:
        """For each shard of these images: (its images, its number, positions in `indices`, numbers in the shard)."""
        chosen = np.asarray(indices, np.int64)
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(self):
            raise IndexError(f"{self.name} has {len(self):,} images")
        shards = np.searchsorted(self.ends, chosen, side="right")
        for shard in dict.fromkeys(shards.tolist()):
            rows = np.flatnonzero(shards == shard)
            first = self.ends[shard] - self.sizes[shard]
            yield self.shards.opened(shard), shard, rows.tolist(), (chosen[rows] - first).tolist()

    def _read(self, images: Decoded, shard: int, index: int) -> tuple[Tensor, int]:
        for offset in range(len(images)):
            i = (index + offset) % len(images)
            try:
                pixels = torch.from_numpy(images.read(i).copy())
            except Exception as error:  # decoders raise a dozen kinds
                self.shards.insist_on_same(shard, images)
                if (shard, i) not in self.unread:
                    self.unread[shard, i] = i
                    self._name(images.why(i, error))
            else:
                if offset:
                    self.unread[shard, index] = i
                return pixels, int(images.labels[i])
        raise FromNoiseError(f"{images.name}: none of its {len(images):,} images can be read")

    def _name(self, why: str) -> None:
        n = len(self.unread)
        if n <= _NAMED or str(n).strip("0") == "1":
            count = f"{n:,} images could not be read so far; the last one: " if n > _NAMED else ""
            warnings.warn(f"{count}{why}; the next image replaces it", stacklevel=2)

    def order(self, seed: int, batch_size: int) -> StreamOrder:
        return StreamOrder(self.shards, self.name, Lanes(self.sizes, seed, batch_size, self.lanes))

    def few(self, most: int) -> Sequence[int]:
        """Numbers of at most `most` images, all from the first shard that has any."""
        first = int(np.flatnonzero(self.sizes)[0])
        return spread(int(self.sizes[first]), most)

    def content(self) -> str:
        """A digest of the shards' names and sizes, and of some images of the first shard."""
        found = hashlib.sha256(digest(self).encode())
        for place, size in zip(self.shards.listed.places, self.sizes.tolist(), strict=True):
            name = os.path.basename(place.partition("?")[0] if remote.is_url(place) else place)
            found.update(f"\n{name} {size}".encode(errors="surrogateescape"))
        return found.hexdigest()

    def split(self, share: float, seed: int) -> "tuple[Stream, Stream]":
        """Split off whole shards, chosen by the seed, that are about a share of all: (the rest, the share).

        Raises:
            FromNoiseError: there are too few shards.
        """
        rest, held = self._split(share, seed)
        return self._some(rest), self._some(held)

    def split_numbers(self, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        starts = self.ends - self.sizes
        rest, held = (np.concatenate([np.arange(starts[i], self.ends[i]) for i in part])
                      for part in self._split(share, seed))  # fmt: skip
        return rest, held

    def _split(self, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        full = np.flatnonzero(self.sizes)
        held = max(1, round(len(full) * share))
        if not 0 < share < 1 or held >= len(full):
            raise FromNoiseError(f"validation: of streamed data whole shards are held out, but a share of {share:g} "
                                 f"of {len(full):,} leaves one part empty: make more shards")  # fmt: skip
        order = full[rng.permutation(seed, 0, len(full), rng.Stream.HOLD_OUT)]
        return np.sort(order[held:]), np.sort(order[:held])

    def _some(self, numbers: np.ndarray) -> "Stream":
        return Stream(self.shards.some(numbers), self.name, self.shape, self.lanes, self.dtype, self.notes)


class _Captions(captions.Streamed):
    """The captions of a stream, read on demand."""

    def __init__(self, whole: Stream):
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole)

    def of(self, indices: Sequence[int]) -> list[str]:
        return self.whole.captions_of(indices)

    def few(self, most: int) -> list[str]:
        return self.of(self.whole.few(most))


def load_stream(config: DataConfig, progress: Progress | None = None) -> Stream:
    """Load the shards that `config.name` stands for; the default size and channels are those of the first shard.

    Args:
        config: uses name, columns, size, channels, fit, background, keep_depth, classes, lanes, cache and cache_gb.
        progress: see `Progress`.

    Raises:
        FromNoiseError: there are no such shards, they are of two kinds, their numbers of images are unknown, or they
            have labels but their classes are unknown.
    """
    if config.name.startswith(huggingface.HUB):
        raise FromNoiseError(f"{files.one_line(config.name)}: cannot be streamed: leave data.stream out, or name its "
                             "shards, https://huggingface.co/datasets/OWNER/NAME/resolve/main/SHARD")  # fmt: skip
    listed = find(config.name, progress)
    cache = ShardCache(files.expanded(config.cache) if config.cache else None, round(config.cache_gb * 1e9))
    shards = Shards(listed, config.columns, cache, 2 * config.lanes + 2)
    number = int(np.flatnonzero(listed.sizes)[0])
    first = shards.raw(number)
    names = _names(config, listed.classes, first)
    shards.kind = Kind.of(first, names, aside=config.classes == 0)
    looked = Looked(first, config, progress, sampled=True)
    if not looked.sizes:
        raise FromNoiseError(f"{first.name}: none of its images can be read; the first: {looked.broken[0]}")
    shape = shape_of(listed.name, looked, config)
    shards.brought = (shape, config.fit, config.background, looked.floats, config.keep_depth)
    notes = [*listed.notes, *(f"of the first shard: {note}" for note in [*first.notes, *looked.floats.notes()])]
    if looked.broken:
        notes.append(f"{len(looked.broken):,} of {len(looked.good):,} images of the first shard cannot be read, as "
                     f"{looked.broken[0]}")  # fmt: skip
    notes += _room(shards, number, config)
    shards.opened(number)  # checks its labels
    dtype = torch.float32 if config.keep_depth else torch.uint8
    return Stream(shards, listed.name, shape, config.lanes, dtype, notes)


def _names(config: DataConfig, of_index: Sequence[str] | None, first: Any) -> Sequence[str]:
    """The names of the classes: from `data.classes`, or else from the index, or else from the first table.

    Raises:
        FromNoiseError: the first shard has labels, but the classes are unknown.
    """
    if config.classes is not None:
        return [str(i) for i in range(config.classes)] if isinstance(config.classes, int) else config.classes
    if of_index is not None:
        return of_index
    if names := _shard.kinds_of_labels(first):
        return names
    if _shard.has_labels(first):
        raise FromNoiseError(f"{first.name}: its images have labels, but the number of classes is unknown: give "
                             "data.classes=N or their names, or 0 to ignore labels; or have them counted with "
                             f"{WRITE_ONE}")  # fmt: skip
    return []


def _room(shards: Shards, number: int, config: DataConfig) -> list[str]:
    """A note if the cache is too small for the shards that a machine that reads all lanes needs at a time."""
    path, scan = shards.ready(number)
    each = os.path.getsize(path) if scan is None or remote.is_url(shards.listed.places[number]) else 0
    together = min(2 * config.lanes + 1, len(shards.listed.places)) * each / 1e9
    if together <= config.cache_gb:
        return []
    return [f"data.cache_gb={config.cache_gb:g}: the shards that {config.lanes} lanes read in two rounds take "
            f"{together:.3g} GB: a machine that reads all lanes downloads some repeatedly: raise it, or lower "
            "data.lanes"]  # fmt: skip


def stream(
    name: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    classes: int | Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    lanes: int = 16,
    fit: Literal["crop", "pad", "stretch"] = "crop",
    background: str = "white",
    cache: str | Path | None = None,
    cache_gb: float = 50.0,
    progress: Progress | None = None,
) -> Stream:
    """Stream images from .tar or .parquet shards, a few of which are read side by side.

    The same as `load` with `data.stream=true`.

    Args:
        name: shards by a path or an address (https://, s3://, gs://), with {000..999} and *; a folder of shards; or an
            index, {"shardlist": [{"url": ..., "nsamples": ...}, ...]}. An index.json beside the shards is found by
            itself.
        size: (height, width), or one number for both; default: the size of the images in the first shard.
        channels: 1, 3 or 4; default: 1 or 3, as the images in the first shard are.
        classes: number of classes, or their names; 0 ignores labels. Default: from the index or a table.
        columns: for tables: names of columns, by "image", "label" and "caption".
        lanes: number of shards that are read side by side, over all processes.
        fit, background: see `DataConfig`.
        cache: folder for downloaded and unpacked shards; default: the library's cache.
        cache_gb: largest size of this folder, in GB.
        progress: progress("what", total) returns a function that is called once for every item.

    Raises:
        FromNoiseError: an argument is invalid, there are no such shards, they are of two kinds, their numbers of images
            are unknown, or they have labels but their classes are unknown.
    """
    try:
        config = DataConfig(
            name=str(name), stream=True, size=size, channels=channels, columns=dict(columns or {}), lanes=lanes,
            fit=fit, classes=classes if classes is None or isinstance(classes, int) else tuple(classes),
            background=background, cache=None if cache is None else Path(cache), cache_gb=cache_gb,
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        said = f"{first['msg'][0].lower()}{first['msg'][1:]}"
        raise FromNoiseError(f"{'.'.join(map(str, first['loc']))}: {said}, got {first['input']!r}") from None
    return load_stream(config, progress)
