"""Shards that are read one after the other: as many images as there are, wherever they lie."""

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
"""Images that cannot be read and are named; then every tenth, hundredth, ... is."""


class Stream(Images):
    """The images of shards, of which a few are open at a time; `stream` and `load` make it.

    Any image can be asked for by its number, which opens its shard. Training asks for them in the order of `Lanes`,
    which goes through the shards one after the other. An image that cannot be read is replaced by the next one of its
    shard that can, always the same, and is named in a warning.

    Args:
        shards: opened when they are needed.
        name: for messages.
        shape: (C, H, W).
        lanes: how many shards are read side by side.
        dtype: uint8, or float32 for images that keep their depth.
        notes: what a person should know.
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
        self.unread: dict[tuple[int, int], int] = {}  # images that cannot be read, and which of their shard stand in

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
        """What these images show, in words."""
        found = [""] * len(indices)
        for images, shard, rows, numbers in self._by_shard(indices):
            for row, i in zip(rows, numbers, strict=True):
                found[row] = images.captions[self.unread.get((shard, i), i)]
        return found

    def _by_shard(self, indices: Sequence[int]) -> Any:
        """(its images, its number, places among the indices, numbers in it) of each shard that they are in."""
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
            warnings.warn(f"{count}{why}; the next image stands in", stacklevel=2)

    def order(self, seed: int, batch_size: int) -> StreamOrder:
        return StreamOrder(self.shards, self.name, Lanes(self.sizes, seed, batch_size, self.lanes))

    def few(self, most: int) -> Sequence[int]:
        """Of the first shard that has any."""
        first = int(np.flatnonzero(self.sizes)[0])
        return spread(int(self.sizes[first]), most)

    def content(self) -> str:
        """A digest of the names and sizes of the shards, and of some images of the first."""
        found = hashlib.sha256(digest(self).encode())
        for place, size in zip(self.shards.listed.places, self.sizes.tolist(), strict=True):
            name = os.path.basename(place.partition("?")[0] if remote.is_url(place) else place)
            found.update(f"\n{name} {size}".encode(errors="surrogateescape"))
        return found.hexdigest()

    def split(self, share: float, seed: int) -> "tuple[Stream, Stream]":
        """(the rest, whole shards that hold about a share of the images), chosen by the seed.

        Raises:
            FromNoiseError: there are too few shards for that.
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
            raise FromNoiseError(f"validation: of streamed shards whole ones are held out, and a share of {share:g} "
                                 f"of {len(full):,} leaves nothing on one side: give more of them")  # fmt: skip
        order = full[rng.permutation(seed, 0, len(full), rng.Stream.HOLD_OUT)]
        return np.sort(order[held:]), np.sort(order[:held])

    def _some(self, numbers: np.ndarray) -> "Stream":
        return Stream(self.shards.some(numbers), self.name, self.shape, self.lanes, self.dtype, self.notes)


class _Captions(captions.Streamed):
    """Those of a stream, read when they are asked for."""

    def __init__(self, whole: Stream):
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole)

    def of(self, indices: Sequence[int]) -> list[str]:
        return self.whole.captions_of(indices)

    def few(self, most: int) -> list[str]:
        return self.of(self.whole.few(most))


def load_stream(config: DataConfig, progress: Progress | None = None) -> Stream:
    """The shards that `config.name` means; size and colours are those of the first one, where they are not given.

    Args:
        config: name, columns, size, channels, fit, background, keep_depth, classes, lanes, cache, cache_gb.
        progress: as Progress says.

    Raises:
        FromNoiseError: there are no such shards, they are of two kinds, their number of images is known nowhere, or
            nobody says what their labels mean.
    """
    if config.name.startswith(huggingface.HUB):
        raise FromNoiseError(f"{files.one_line(config.name)}: is read as a table: leave data.stream out, or name its "
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
    shards.opened(number)  # whose labels must be as they were said
    dtype = torch.float32 if config.keep_depth else torch.uint8
    return Stream(shards, listed.name, shape, config.lanes, dtype, notes)


def _names(config: DataConfig, of_index: Sequence[str] | None, first: Any) -> Sequence[str]:
    """Of the classes: those that were given, else those of the index, else those of the first table.

    Raises:
        FromNoiseError: it has labels, and nobody says of how many classes.
    """
    if config.classes is not None:
        return [str(i) for i in range(config.classes)] if isinstance(config.classes, int) else config.classes
    if of_index is not None:
        return of_index
    if names := _shard.kinds_of_labels(first):
        return names
    if _shard.has_labels(first):
        raise FromNoiseError(f"{first.name}: its images have labels, and not all shards are looked into: say how many "
                             "classes there are with data.classes=N, or name them, or 0 to leave labels aside; or have "
                             f"them counted, by {WRITE_ONE}")  # fmt: skip
    return []


def _room(shards: Shards, number: int, config: DataConfig) -> list[str]:
    """Whether the cache holds what is read at a time, where a machine reads all lanes."""
    path, scan = shards.ready(number)
    each = os.path.getsize(path) if scan is None or remote.is_url(shards.listed.places[number]) else 0
    together = min(2 * config.lanes + 1, len(shards.listed.places)) * each / 1e9
    if together <= config.cache_gb:
        return []
    return [f"data.cache_gb={config.cache_gb:g}: the shards that {config.lanes} lanes read in two rounds take "
            f"{together:.3g} GB: a machine that reads all lanes fetches some again and again: allow more, or fewer "
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
    """Images of .tar or .parquet shards, read one shard after the other: `load` with `data.stream=true`.

    Args:
        name: shards by a path or an address (https://, s3://, gs://), with {000..999} and *; a folder of them; or an
            index, {"shardlist": [{"url": ..., "nsamples": ...}, ...]}, which is taken by itself where it lies beside
            them as index.json.
        size: (height, width), or one number for both; None keeps that of the images of the first shard.
        channels: 1, 3 or 4; None takes 1 or 3, as the images of the first shard are.
        classes: how many classes labels count, or their names; 0 leaves labels aside. None takes the index's word, or
            that of a table.
        columns: of a table: {"image", "label", "caption": the column's name}.
        lanes: how many shards are read side by side, over all processes.
        fit, background: see `DataConfig`.
        cache: where shards are kept that were fetched or unpacked.
        cache_gb: how much of them, in GB.
        progress: progress("what", total) returns a function that is called once for every item.

    Raises:
        FromNoiseError: a value that is none of these, or what `load_stream` raises.
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
