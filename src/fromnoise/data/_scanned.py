"""What a .tar holds, in few numbers that are kept: reading the headers of thousands of files takes a while."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fromnoise.data._cache import Vanished
from fromnoise.data.archives import COLUMNS, Index
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files


@dataclass(frozen=True)
class Scan:
    """Of one .tar.

    Attributes:
        rows: int64 [N, 7], where each image lies; see `archives.Index`.
        names: of all images, one after the other, UTF-8.
        given: the label of each image, a number or a word; None where there is none.
        captions: of each image, or none at all.
        folders: the folder of each image in the archive.
        tabled: whether a table of labels was there, which then decides: no folder is a class.
        broken, notes: what cannot be read, and what was left out, a line each.
    """

    rows: np.ndarray
    names: bytes
    given: list[int | str | None]
    captions: list[str]
    folders: list[str]
    tabled: bool
    broken: list[str]
    notes: list[str]

    @classmethod
    def of(cls, path: Path, where: str) -> "Scan":
        """By reading its headers, and what lies beside the images; `where` is what it is called in messages.

        Raises:
            Vanished: it was removed meanwhile.
            FromNoiseError: it is no archive, or is compressed as a whole.
        """
        index, broken = Index(), list[str]()
        try:
            before = path.stat()
            index.add(0, path, broken)
            if not os.path.samestat(path.stat(), before):
                raise Vanished
        except FileNotFoundError:
            raise Vanished from None
        except files.Unreadable:
            if not path.exists():
                raise Vanished from None
            raise
        except FromNoiseError as error:
            raise FromNoiseError(str(error).replace(str(path), where)) from None
        broken = [line.replace(str(path), where) for line in broken]
        places = list(index.folders)
        return cls(np.frombuffer(index.rows, np.int64).reshape(-1, COLUMNS), bytes(index.names), index.labels,
                   index.captions if any(index.captions) else [], [places[i] for i in index.tops], index.labelled,
                   broken, index.notes())  # fmt: skip

    def write(self, out: BinaryIO) -> None:
        """For `read`."""
        said = {name: value for name, value in vars(self).items() if name not in ("rows", "names")}
        np.savez(out, rows=self.rows, names=np.frombuffer(self.names, np.uint8),
                 said=np.frombuffer(json.dumps(said).encode(), np.uint8))  # fmt: skip

    @classmethod
    def read(cls, path: Path) -> "Scan":
        """What `write` wrote; raises anything where it is something else."""
        with np.load(path) as kept:
            rows, names = kept["rows"], kept["names"].tobytes()
            found = cls(rows, names, **json.loads(kept["said"].tobytes()))
        n = len(rows)
        if rows.shape != (n, COLUMNS) or not n == len(found.given) == len(found.folders):
            raise ValueError("parts of different lengths")
        return found
