"""The number of images in each shard: from parquet footers, or counted once and cached."""

import json
import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fromnoise.data import _remote as remote
from fromnoise.data._cache import ShardCache
from fromnoise.data._scanned import Scan
from fromnoise.data._shard import PARQUET, TAR, footer, label_column, rows_of
from fromnoise.data._shardlist import INDEX, WRITE_ONE, ShardList, ending_of
from fromnoise.data.archives import Index
from fromnoise.data.images import Progress
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, storage

_LARGEST = 2**30
_TOGETHER, _AT_ONCE, _NAMED = 16, 1000, 100


def counted(places: Sequence[str], progress: Progress | None = None) -> ShardList:
    """The shards with their sizes: .parquet by their footers, .tar by reading all headers; the counts are cached.

    Raises:
        FromNoiseError: a shard cannot be read, or is a .tar at an address, which would have to be downloaded.
    """
    urls = [one for one in places if remote.is_url(one)]
    if urls and ending_of(urls[0]) == TAR:
        raise FromNoiseError(f"{remote.shown(urls[0])}: .tar shards at an address need an {INDEX} beside them, but "
                             f"there is none: write it with {WRITE_ONE}, which downloads each shard once")  # fmt: skip
    tick = progress("counting the images of shards", len(places)) if progress else None
    found: dict[str, tuple[int, int, list[str]]] = {}
    with ThreadPoolExecutor(_TOGETHER if urls else 1) as pool:
        for parent, group in _by_parent(places).items():
            with _Remembered(parent) as remembered:
                for start in range(0, len(group), _AT_ONCE):
                    part = group[start : start + _AT_ONCE]
                    for place, row in zip(part, pool.map(remembered.row, part), strict=True):
                        found[place] = row
                        if tick:
                            tick()
                    remembered.save()
    rows = [found[one] for one in places]
    broken = [line for _, _, lines in rows for line in lines]
    notes = []
    if broken:
        named = "; ".join(broken[:3]) + ("; ..." if len(broken) > 3 else "")
        notes = [f"skipped {len(broken):,} files that cannot be read: {named}"]
    sizes, lengths = (np.array([row[i] for row in rows], np.int64) for i in (0, 1))
    return ShardList("", places, sizes, lengths, notes=notes)


def _by_parent(places: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for place in places:
        groups.setdefault(os.path.dirname(place), []).append(place)
    return groups


class _Remembered:
    """A cache of the sizes of the shards in one folder, by name, bytes and modification time.

    It is locked, so that only one process counts.
    """

    def __init__(self, parent: str):
        self.path = storage.cache("shard-sizes") / f"{storage.short_hash(os.path.abspath(parent))}.json"
        self.lock = storage.locked(self.path)
        self.rows: dict[str, Any] = {}
        self.changed = False

    def __enter__(self) -> "_Remembered":
        self.lock.acquire()
        with suppress(files.Unreadable):
            read = files.read_json(self.path, _LARGEST)
            self.rows = read if isinstance(read, dict) else {}
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self.save()
        finally:
            self.lock.release()

    def save(self) -> None:
        """Write the cache if anything has been counted since the last time."""
        if self.changed:
            files.write_text(self.path, json.dumps(self.rows))
            self.changed = False

    def row(self, place: str) -> tuple[int, int, list[str]]:
        """(images, bytes, a line for each file that cannot be read) of a shard."""
        if remote.is_url(place):
            return _of_footer(place)
        about = os.stat(place)
        key, name = [about.st_size, about.st_mtime_ns], os.path.basename(place)
        known: Any = self.rows.get(name)
        if _is_row(known) and known[:2] == key:
            return known[2], known[0], known[3]
        size, broken = _count(place)
        self.rows[name], self.changed = [*key, size, broken[:_NAMED]], True
        return size, about.st_size, broken


def _count(place: str) -> tuple[int, list[str]]:
    """(images, a line for each file that cannot be read) of a shard."""
    if ending_of(place) == PARQUET:
        return rows_of(Path(place), place), []
    scan = Scan.of(Path(place), files.one_line(place))
    return len(scan.rows), scan.broken


def _is_row(row: Any) -> bool:
    """Whether a row of the cache is [bytes, time, images, lines]: other programs may have written to it."""
    return (isinstance(row, list) and len(row) == 4 and isinstance(row[3], list)
            and all(type(value) is int and value >= 0 for value in row[:3])
            and all(isinstance(line, str) for line in row[3]))  # fmt: skip


def _of_footer(url: str) -> tuple[int, int, list[str]]:
    def look() -> tuple[int, int, list[str]]:
        fs, path = remote.filesystem(url)
        with fs.open(path, "rb") as file:
            return footer(file, remote.shown(url)), int(file.size or -1), []

    return remote.patiently(url, look)


class Seen:
    """Collects the classes of many shards, without keeping every label."""

    def __init__(self) -> None:
        self.index = Index()
        self.given: set[int | str] = set()
        self.named: list[str] | None = None

    def look(self, place: str, cache: ShardCache, columns: Mapping[str, str]) -> tuple[int, int]:
        """(images, bytes) of a shard, whose labels are recorded; a shard at an address is downloaded.

        Raises:
            FromNoiseError: the shard cannot be read, or names other classes than earlier shards.
        """
        where, path = remote.shown(place), Path(place)
        if remote.is_url(place):
            length = remote.length_of(place)
            name = f"{storage.short_hash((place, length))}{ending_of(place)}"
            path = cache.file(name, lambda out: remote.fetch(place, out, length), length)
        if ending_of(place) == PARQUET:
            found, names = label_column(path, where, columns)
            if names is not None and self.named not in (None, names):
                raise FromNoiseError(f"{where}: names other classes than earlier shards: all must name the same ones")
            self.named = names or self.named
            self.given |= found
            return rows_of(path, where), path.stat().st_size
        scan = Scan.of(path, where)
        if scan.broken:
            raise FromNoiseError(f"{scan.broken[0]}: repair or remove the shard, then write the index again")
        self.given |= {label for label in scan.given if label is not None}
        self.index.labelled |= scan.tabled
        self.index.folders |= dict.fromkeys(scan.folders, 0)
        return len(scan.rows), path.stat().st_size

    def classes(self, name: str) -> list[str]:
        """The names of the classes, in the order of their labels; empty if there are no labels.

        Raises:
            FromNoiseError: some labels are numbers and others words, or a number is not a class.
        """
        if self.named is not None:
            return self.named
        self.index.labels = list(self.given)
        self.index.tops = array("q", range(len(self.index.folders)))
        return self.index.classes(name)[0]
