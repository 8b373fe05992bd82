"""Lists of shards, and the shards that a path, pattern or address stands for."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path
from urllib.parse import urljoin

import numpy as np

from fromnoise.data import _remote as remote
from fromnoise.data._shard import PARQUET, TAR
from fromnoise.data.archives import expanded
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

INDEX = "index.json"
WRITE_ONE = "fromnoise index SHARDS (fn.data.write_index in Python)"
_ENDINGS = (TAR, PARQUET, ".zip")
"""Endings that are listed; .zip is among them only to report that it cannot be streamed."""


@dataclass
class ShardList:
    """An ordered list of shards, which are opened on demand.

    Attributes:
        name: name of the data set in messages.
        places: the path or address of each shard.
        sizes: number of images in each shard.
        lengths: bytes of each shard; -1 if unknown.
        classes: names of the classes, if the index has them.
        index: path or address of the index that the sizes are from; "" if they were counted.
        notes: lines for the user.
    """

    name: str
    places: Sequence[str]
    sizes: np.ndarray
    lengths: np.ndarray
    classes: Sequence[str] | None = None
    index: str = ""
    notes: Sequence[str] = field(default_factory=list)

    @property
    def ending(self) -> str:
        """The ending of all shards: .tar or .parquet."""
        return ending_of(self.places[0])

    def some(self, numbers: np.ndarray) -> "ShardList":
        """A subset of the shards."""
        places = [self.places[i] for i in numbers.tolist()]
        return ShardList(self.name, places, self.sizes[numbers], self.lengths[numbers], self.classes, self.index)


def ending_of(place: str) -> str:
    """The ending of a path or an address, in lower case: .tar, .parquet, ..."""
    return os.path.splitext(place.partition("?")[0] if remote.is_url(place) else place)[1].lower()


def of_address(name: str) -> tuple[str, list[str] | None]:
    """(the address of the folder, ending in /; the addresses of the shards, or None for all shards in the folder)."""
    if ending_of(name) not in _ENDINGS:
        return name.rstrip("/") + "/", None
    places = [url for one in expanded(name) for url in (remote.listed(one) if "*" in one else [one])]
    if not places:
        raise FromNoiseError(f"{remote.shown(name)}: no such file")
    return urljoin_any(places[0], "."), places


def in_address(folder: str) -> list[str]:
    """The shards in a folder at an address."""
    return [one for one in remote.listed(folder) if ending_of(one) in _ENDINGS]


def of_path(name: str) -> tuple[str, list[str] | None]:
    """(the path of the folder; the paths of the shards, or None for all shards in the folder).

    Raises:
        FromNoiseError: the name is not one of shards, or some of them do not exist.
    """
    path = files.expanded(name)
    if os.path.isdir(path):
        return str(path), None
    if ending_of(name) not in _ENDINGS:
        raise FromNoiseError(f"{files.one_line(name)}: data.stream reads shards: a folder of .tar or .parquet files, "
                             "their names with {000..999} or *, an address of such, or an index.json")  # fmt: skip
    wanted = [str(files.expanded(one)) for one in expanded(name)]
    found = [one for path in wanted for one in (sorted(glob(path)) if has_magic(path) else [path])]
    missing = [one for one in found if not os.path.isfile(one)]
    if missing or not found:
        several = f" ({len(missing):,} of {len(found):,} are missing)" if len(found) > 1 else ""
        raise FromNoiseError(f"{files.one_line((missing or [name])[0])}: no such file{several}")
    return os.path.dirname(found[0]), found


def in_folder(folder: str) -> list[str]:
    """The shards in a folder and its subfolders."""
    found = (one for one in Path(folder).rglob("*") if one.suffix.lower() in _ENDINGS)
    return sorted(str(one) for one in found if not one.name.startswith("."))


def insist_on_one_kind(places: Sequence[str], where: str) -> None:
    """Check that the shards are all .tar or all .parquet.

    Raises:
        FromNoiseError: they are not, or there are none; the message names the first that differs.
    """
    if not places:
        raise FromNoiseError(f"{remote.shown(where)}: no .tar and no .parquet shard found: data.stream needs shards")
    first = ending_of(places[0])
    other = next((one for one in places if ending_of(one) != first or first not in (TAR, PARQUET)), None)
    if other is not None:
        kinds = "shards are .tar or .parquet" if first not in (TAR, PARQUET) else f"the first shard is a {first}"
        raise FromNoiseError(f"{remote.shown(other)}: {kinds}, and all must be of one kind: name the shards with a "
                             "pattern, such as part-*.tar")  # fmt: skip


def urljoin_any(base: str, place: str) -> str:
    """`urllib.parse.urljoin` for addresses of every scheme."""
    if remote.is_url(place):
        return place
    scheme, _, rest = base.partition("://")
    joined = urljoin(f"https://{rest}", place)
    return f"{scheme}://{joined.removeprefix('https://')}"
