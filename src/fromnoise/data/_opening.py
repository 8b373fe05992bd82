"""Shards of a stream, made ready and opened when an image of theirs is asked for; few are open at a time."""

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
    """What all shards of a stream have alike.

    Attributes:
        names: of the classes, by the number of their label; none where labels are left aside.
        labels: whether images have labels; None where it does not matter.
        captions: whether they have captions.
        columns: of a table: its columns of images, labels and captions.
    """

    names: tuple[str, ...]
    labels: bool | None
    captions: bool
    columns: tuple[str | None, ...] = ()

    @classmethod
    def of(cls, shard: Packed | Rows, names: Sequence[str], aside: bool) -> "Kind":
        """That of the first shard; `aside` says that labels are."""
        columns = shard.columns if isinstance(shard, Rows) else ()
        return cls(tuple(names), None if aside else bool(names), bool(shard.captions), columns)


class Shards:
    """Those of a list, opened.

    Args:
        listed: which, and how many images each has.
        columns: of a table, see `DataConfig`.
        cache: where shards are that were fetched or unpacked.
        most: how many are open at a time.
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
        """A part of them, opened likewise."""
        part = Shards(self.listed.some(numbers), self.columns, self.cache, self.most)
        part.kind, part.brought = self.kind, self.brought
        return part

    def where(self, number: int) -> str:
        """What a shard is called in messages."""
        return remote.shown(self.listed.places[number])

    def opened(self, number: int) -> Decoded:
        """The images of a shard, with labels and captions.

        Raises:
            FromNoiseError: it is not there, is not what the others are, or has changed.
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
        shard.classes = self.kind.names  # only now: till then they are its own
        if self.kind.names and bool((shard.labels < 0).all()):
            raise FromNoiseError(f"{shard.name}: none of its images has a label, and those of the first shard have: "
                                 "all shards are of one kind, and data.classes=0 leaves labels aside")  # fmt: skip
        images = Decoded(shard, np.arange(len(shard)), *self.brought)
        with self._lock:
            self._open[number] = images
            while len(self._open) > self.most:
                self._open.popitem(last=False)
        return images

    def raw(self, number: int) -> Packed | Rows:
        """The same as it is, of whatever kind.

        Raises:
            FromNoiseError: it is not there, or holds another number of images than was counted.
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
            raise FromNoiseError(f"{where}: was let go of {_TRIES} times before it could be read: raise data.cache_gb")
        counted = int(self.listed.sizes[number])
        if len(shard) != counted:
            why = f" ({shard.broken[0]})" if shard.broken else ""
            index = self.listed.index
            rest = (f"{index} says {counted:,}: write it anew by {WRITE_ONE}" if index else
                    f"it held {counted:,} when they were counted: shards must not change under a run")  # fmt: skip
            raise FromNoiseError(f"{where}: holds {len(shard):,} images{why}, and {rest}")
        return shard

    def ready(self, number: int) -> tuple[Path, Path | None]:
        """Where its file is, once it was fetched or unpacked as far as that is needed, and of a .tar what it holds.

        Raises:
            FromNoiseError: it is not there, or not of the length that it had.
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
                raise FromNoiseError(f"{where}: has {about.st_size:,} bytes, and had {length:,} when its images were "
                                     "counted: shards must not change under a run")  # fmt: skip
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
                files.remove(path)  # what was unpacked is enough

        key = storage.short_hash((key, sorted(self.columns.items())))
        return self.cache.file(f"{key}.arrow", unpack, max(0, int(length))), None

    def insist_on_same(self, number: int, images: Decoded) -> None:
        """That a shard that is open is as long as it was when it was opened.

        Raises:
            FromNoiseError: it is not.
        """
        if isinstance(images.source, Packed) and (now := images.source.length()) != images.source.bytes:
            raise FromNoiseError(f"{self.where(number)}: has {now:,} bytes, and had {images.source.bytes:,} when it "
                                 "was opened: shards must not change under a run")  # fmt: skip

    def _insist_on_kind(self, shard: Packed | Rows) -> None:
        kind = self.kind
        assert kind is not None
        if isinstance(shard, Rows) and shard.columns != kind.columns:
            own, first = (", ".join(str(column) for column in of if column) for of in (shard.columns, kind.columns))
            raise FromNoiseError(f"{shard.name}: has the columns {files.one_line(own)}, and the first shard "
                                 f"{files.one_line(first)}: name them with data.columns")  # fmt: skip
        if kind.labels is False and _shard.has_labels(shard):
            raise FromNoiseError(f"{shard.name}: its images have labels, and those of the first shard have none: all "
                                 "shards are of one kind, and data.classes=0 leaves labels aside")  # fmt: skip
        if bool(shard.captions) != kind.captions:
            own, first = ("have captions", "none") if shard.captions else ("have no captions", "some")
            raise FromNoiseError(f"{shard.name}: its images {own}, and those of the first shard have {first}: all "
                                 "shards are of one kind")  # fmt: skip


def _packed(path: Path, where: str, scan: Path) -> Packed:
    """With what was kept of its headers.

    Raises:
        Vanished: it, or that, was removed, or that is no such thing.
    """
    try:
        found = Scan.read(scan)
    except Exception:  # of a cache that others may write into
        files.remove(scan)
        raise Vanished from None
    return Packed(path, where, found)


def _stat(place: str) -> os.stat_result:
    try:
        return os.stat(place)
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()
        raise FromNoiseError(f"{files.one_line(place)}: {what}") from None
