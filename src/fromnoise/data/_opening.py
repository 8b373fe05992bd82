"""Open the shards of a stream when one of their images is needed; only a few are open at a time."""

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from fromnoise.data import _remote as remote
from fromnoise.data import _shard
from fromnoise.data._cache import ShardCache, Vanished
from fromnoise.data._scanned import Scan
from fromnoise.data._shard import PARQUET, Packed
from fromnoise.data._shardlist import WRITE_ONE, ShardList
from fromnoise.data.encoded import Decoded
from fromnoise.data.huggingface import Rows
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, storage

_TRIES = 3


@dataclass(frozen=True)
class Kind:
    """The properties that all shards of a stream must share.

    Attributes:
        names: names of the classes, in the order of their labels; empty if labels are ignored.
        labels: whether images have labels; None if labels are ignored.
        captions: whether images have captions.
        columns: for tables: the columns of images, labels and captions.
    """

    names: tuple[str, ...]
    labels: bool | None
    captions: bool
    columns: tuple[str | None, ...] = ()

    @classmethod
    def of(cls, shard: Packed | Rows, names: Sequence[str], aside: bool) -> "Kind":
        """The kind of the first shard; `aside` means that labels are ignored."""
        columns = shard.columns if isinstance(shard, Rows) else ()
        return cls(tuple(names), None if aside else bool(names), bool(shard.captions), columns)


class Shards:
    """The shards of a list, opened on demand.

    Args:
        listed: the shards, and how many images each has.
        columns: for tables: see `DataConfig`.
        cache: the cache of downloaded and unpacked shards.
        most: the largest number of open shards.
    """

    def __init__(self, listed: ShardList, columns: Mapping[str, str], cache: ShardCache, most: int):
        self.listed, self.columns, self.cache, self.most = listed, dict(columns), cache, most
        self.lengths = listed.lengths.copy()
        self.kind: Kind | None = None
        self.brought: tuple[Any, ...] = ()
        self._open: OrderedDict[int, Decoded] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def some(self, numbers: np.ndarray) -> "Shards":
        """A subset of the shards, with the same kind and options."""
        part = Shards(self.listed.some(numbers), self.columns, self.cache, self.most)
        part.kind, part.brought = self.kind, self.brought
        return part

    def where(self, number: int) -> str:
        """The name of a shard in messages."""
        return remote.shown(self.listed.places[number])

    def opened(self, number: int) -> Decoded:
        """The images of a shard, with labels and captions.

        Raises:
            FromNoiseError: the shard is missing, is not of the same kind as the first one, or has changed.
        """
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        shard = self.raw(number)
        assert self.kind is not None
        self._insist_on_kind(shard)
        shard.labels = _shard.labelled(shard, self.kind.names) if self.kind.names else torch.full((len(shard),), -1)
        if shard.broken:
            more = f" (and {len(shard.broken) - 1:,} more like it)" if len(shard.broken) > 1 else ""
            warnings.warn(f"left out {shard.broken[0]}{more}", stacklevel=2)
        shard.classes = self.kind.names  # until now, its own
        if self.kind.names and bool((shard.labels < 0).all()):
            raise FromNoiseError(f"{shard.name}: none of its images has a label, but those of the first shard have: "
                                 "all shards must be of one kind; data.classes=0 ignores labels")  # fmt: skip
        images = Decoded(shard, np.arange(len(shard)), *self.brought)
        with self._lock:
            self._open[number] = images
            while len(self._open) > self.most:
                self._open.popitem(last=False)
        return images

    def raw(self, number: int) -> Packed | Rows:
        """The images of a shard before its kind is checked.

        Raises:
            FromNoiseError: the shard is missing, or does not hold as many images as were counted.
        """
        where = self.where(number)
        for _ in range(_TRIES):
            try:
                path, scan = self.ready(number)
                shard = _shard.unpacked(path, where, self.columns) if scan is None else _packed(path, where, scan)
                break
            except Vanished:
                continue
        else:
            raise FromNoiseError(f"{where}: was removed from the cache {_TRIES} times before it could be read: raise "
                                 "data.cache_gb")  # fmt: skip
        counted = int(self.listed.sizes[number])
        if len(shard) != counted:
            why = f" ({shard.broken[0]})" if shard.broken else ""
            index = self.listed.index
            rest = (f"{index} says {counted:,}: write it again with {WRITE_ONE}" if index else
                    f"it held {counted:,} when they were counted: shards must not change during a run")  # fmt: skip
            raise FromNoiseError(f"{where}: holds {len(shard):,} images{why}, but {rest}")
        return shard

    def ready(self, number: int) -> tuple[Path, Path | None]:
        """(the path of a shard's file, that of its scan or None), after downloading and unpacking it if necessary.

        A .parquet shard is unpacked to Arrow and has no scan; the headers of a .tar are kept in a scan.

        Raises:
            FromNoiseError: the shard is missing, or its length has changed.
        """
        place, length, where = self.listed.places[number], int(self.lengths[number]), self.where(number)
        if remote.is_url(place):
            key = storage.short_hash((place, length))

            def here() -> Path:
                name = f"{key}{self.listed.ending}"
                return self.cache.file(name, lambda out: remote.fetch(place, out, length), length)
        else:
            about = _stat(place)
            if length not in (-1, about.st_size):
                raise FromNoiseError(f"{where}: has {about.st_size:,} bytes, but had {length:,} when its images were "
                                     "counted: shards must not change during a run")  # fmt: skip
            length = self.lengths[number] = about.st_size
            key = storage.short_hash((os.path.abspath(place), about.st_size, about.st_mtime_ns))

            def here() -> Path:
                return Path(place)

        if self.listed.ending != PARQUET:
            path = here()
            return path, self.cache.file(f"{key}.scan", lambda out: Scan.of(path, where).write(out))

        def unpack(out: BinaryIO) -> None:
            path = here()
            _shard.unpack(path, where, self.columns, out)
            if remote.is_url(place):
                files.remove(path)  # only the unpacked file is needed

        key = storage.short_hash((key, sorted(self.columns.items())))
        return self.cache.file(f"{key}.arrow", unpack, max(0, int(length))), None

    def insist_on_same(self, number: int, images: Decoded) -> None:
        """Check that an open shard still has the length that it had when it was opened.

        Raises:
            FromNoiseError: it does not.
        """
        if isinstance(images.source, Packed) and (now := images.source.length()) != images.source.bytes:
            raise FromNoiseError(f"{self.where(number)}: has {now:,} bytes, but had {images.source.bytes:,} when it "
                                 "was opened: shards must not change during a run")  # fmt: skip

    def _insist_on_kind(self, shard: Packed | Rows) -> None:
        kind = self.kind
        assert kind is not None
        if isinstance(shard, Rows) and shard.columns != kind.columns:
            own, first = (", ".join(str(column) for column in of if column) for of in (shard.columns, kind.columns))
            raise FromNoiseError(f"{shard.name}: has the columns {files.one_line(own)}, but the first shard has "
                                 f"{files.one_line(first)}: name them with data.columns")  # fmt: skip
        if kind.labels is False and _shard.has_labels(shard):
            raise FromNoiseError(f"{shard.name}: its images have labels, but those of the first shard have none: all "
                                 "shards must be of one kind; data.classes=0 ignores labels")  # fmt: skip
        if bool(shard.captions) != kind.captions:
            own, first = ("have captions", "none") if shard.captions else ("have no captions", "some")
            raise FromNoiseError(f"{shard.name}: its images {own}, but those of the first shard have {first}: all "
                                 "shards must be of one kind")  # fmt: skip


def _packed(path: Path, where: str, scan: Path) -> Packed:
    """A .tar shard, opened with its saved scan.

    Raises:
        Vanished: the shard or the scan was removed, or the scan cannot be read.
    """
    try:
        found = Scan.read(scan)
    except Exception:  # other programs may have written to the cache
        files.remove(scan)
        raise Vanished from None
    return Packed(path, where, found)


def _stat(place: str) -> os.stat_result:
    try:
        return os.stat(place)
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()
        raise FromNoiseError(f"{files.one_line(place)}: {what}") from None
