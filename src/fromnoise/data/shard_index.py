"""The index of shards, which lists them with their numbers of images, in the format of webdataset's wids."""

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fromnoise.data import _remote as remote
from fromnoise.data._cache import ShardCache
from fromnoise.data._counting import Seen, counted
from fromnoise.data._shardlist import (
    INDEX,
    WRITE_ONE,
    ShardList,
    ending_of,
    in_address,
    in_folder,
    insist_on_one_kind,
    of_address,
    of_path,
    urljoin_any,
)
from fromnoise.data.images import Progress
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

KIND = "wids-shard-index-v1"
_LARGEST, _MOST = 2**30, 2**40


def find(name: str, progress: Progress | None = None) -> ShardList:
    """The shards that a name stands for, with their sizes.

    Args:
        name: a path or an address: of shards, with {000..999} and *; of a folder of shards; or of an index.
        progress: see `Progress`; used while shards are counted.

    Raises:
        FromNoiseError: there are no shards, they are of two kinds, or an index is invalid.
    """
    if remote.is_url(name):
        remote.filesystem(name)
    found = _by_index(name, None) if ending_of(name) == ".json" else _listed(name, progress)
    called = remote.shown(name)
    empty = np.flatnonzero(found.sizes == 0)
    if len(empty) == len(found.places):
        raise FromNoiseError(f"{called}: no image in {len(found.places):,} shards"
                             + "".join(f"; {note}" for note in found.notes[:1]))  # fmt: skip
    if len(empty):
        first = remote.shown(found.places[empty[0]])
        found.notes = [*found.notes, f"{len(empty):,} of {len(found.places):,} shards hold no image, as {first}"]
    found.name = called
    return found


def _listed(name: str, progress: Progress | None) -> ShardList:
    elsewhere = remote.is_url(name)
    folder, places = of_address(name) if elsewhere else of_path(name)
    index = _index_in(folder)
    if elsewhere and index is not None and places is None:
        return _by_index(index, None)
    whole = places is None
    if places is None:
        places = in_address(folder) if elsewhere else in_folder(folder)
    if index is not None:
        return _by_index(index, places, whole)
    insist_on_one_kind(places, name)
    return counted(places, progress)


def _index_in(folder: str) -> str | None:
    """The path or address of the index in a folder; None if there is none."""
    if not remote.is_url(folder):
        path = os.path.join(folder, INDEX)
        return path if os.path.lexists(path) else None
    url = urljoin_any(folder, INDEX)
    try:
        remote.length_of(url)
    except remote.Elsewhere:
        return None
    return url


def _by_index(index: str, wanted: Sequence[str] | None, whole: bool = False) -> ShardList:
    """The shards that an index lists.

    Args:
        index: path or address of the index.
        wanted: the shards to take; None for all.
        whole: whether the index may list no other local shards than `wanted`.

    Raises:
        FromNoiseError: the index is invalid, or its shards are not those wanted.
    """
    where, place = remote.shown(index), partial(_joined, index)
    if remote.is_url(index):
        content = files.parse_json(remote.read(index, _LARGEST).decode("utf-8", "replace"), where)
    else:
        content = files.read_json(files.expanded(index), _LARGEST)
    rows = content.get("shardlist") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise FromNoiseError(f"{where}: not an index of shards, which has a shardlist of url and nsamples: write one "
                             f"with {WRITE_ONE}")  # fmt: skip
    found = {}
    for row in rows:
        url, size, length = _row(row, where)
        found[place(url)] = (size, length)
    places = [_normal(one) for one in wanted or ()]
    by = f"write it again with {WRITE_ONE}, or remove it"
    if (missing := next((one for one in places if one not in found), None)) is not None:
        raise FromNoiseError(f"{where}: does not list {remote.shown(missing)}: {by}")
    own = {one for one in found if whole and places and not remote.is_url(one)} - set(places)
    if own:
        raise FromNoiseError(f"{where}: lists {files.one_line(min(own))}, which does not exist: {by}")
    places = places or list(found)
    insist_on_one_kind(places, where)
    sizes, lengths = np.array([found[one] for one in places], np.int64).T.copy()
    return ShardList(where, places, sizes, lengths, _classes(content, where), where)


def _row(row: Any, where: str) -> tuple[str, int, int]:
    """(url, number of images, bytes or -1) of an entry of the index."""
    told: Mapping[str, Any] = row if isinstance(row, dict) else {}
    url: Any = told.get("url")
    size: Any = told.get("nsamples")
    length: Any = -1 if told.get("filesize") is None else told["filesize"]
    if not (isinstance(url, str) and _is_count(size, 0) and _is_count(length, -1)):
        raise FromNoiseError(f"{where}: {files.one_line(json.dumps(row)[:100])} is not a shard, which has a url, "
                             "nsamples (at least 0), and optionally filesize (bytes)")  # fmt: skip
    return url, size, length


def _joined(index: str, url: str) -> str:
    """The path or address of a shard, whose url may be relative to the index."""
    if remote.is_url(index) or remote.is_url(url):
        return urljoin_any(index, url)
    return _normal(os.path.join(os.path.dirname(files.expanded(index)), url))


def _normal(place: str) -> str:
    return place if remote.is_url(place) else os.path.normpath(place)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < _MOST


def _classes(content: Mapping[str, Any], where: str) -> list[str] | None:
    names = content.get("classes")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
        raise FromNoiseError(f"{where}: classes must be a list of different names, or left out")
    return [files.one_line(name) for name in names] or None


# ---------------------------------------------------------------------------------------------------------------------
# Writing an index


def write_index(
    name: str | Path,
    out: str | Path | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    cache: str | Path | None = None,
    cache_gb: float = 50.0,
    progress: Progress | None = None,
) -> Path:
    """Write an index of shards, with their numbers of images and their classes, so that `stream` starts at once.

    Its format is that of webdataset's wids, {"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist":
    [{"url", "nsamples", "filesize"}]}, with one more entry, "classes": the names of the classes in the order of their
    labels.

    Args:
        name: shards; see `stream`. Shards at addresses are downloaded once.
        out: the file to write; default: index.json in the folder of the shards.
        columns: for tables: names of columns, by "image", "label" and "caption".
        cache, cache_gb: see `stream`.
        progress: progress("what", total) returns a function that is called once for every shard.

    Returns:
        The path of the index.

    Raises:
        FromNoiseError: there are no shards, a shard cannot be read, some labels are numbers and others words, or `out`
            is not given for shards at addresses.
    """
    called = str(name)
    elsewhere = remote.is_url(called)
    if elsewhere:
        remote.filesystem(called)
        if out is None:
            raise FromNoiseError("out: name the file to write, then put it beside the shards as index.json")
    folder, places = of_address(called) if elsewhere else of_path(called)
    if places is None:
        places = in_address(folder) if elsewhere else in_folder(folder)
    insist_on_one_kind(places, called)
    target = Path(folder) / INDEX if out is None else files.expanded(out)
    files.insist_on_writable(target)
    store = ShardCache(files.expanded(cache) if cache is not None else None, round(cache_gb * 1e9))
    tick = progress("counting the images of shards", len(places)) if progress else None
    seen, rows = Seen(), []
    for place in places:
        size, length = seen.look(place, store, columns or {})
        beside = not remote.is_url(place) and Path(os.path.abspath(place)).is_relative_to(target.parent.resolve())
        url = os.path.relpath(place, target.parent) if beside else place if elsewhere else os.path.abspath(place)
        rows.append({"url": url, "nsamples": size, "filesize": length})
        if tick:
            tick()
    content = {"__kind__": KIND, "wids_version": 1, "shardlist": rows}
    names = seen.classes(remote.shown(called))
    files.write_text(target, json.dumps(content | ({"classes": names} if names else {}), indent=1) + "\n")
    return target
