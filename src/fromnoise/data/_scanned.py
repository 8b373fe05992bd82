"""A saved summary of a .tar: reading the headers of thousands of files takes a while."""

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
    """The summary of one .tar.

    Attributes:
        rows: int64 [N, 7], the location of each image; see `archives.Index`.
        names: the concatenated names of all images, UTF-8.
        given: the label of each image, a number or a word; None if there is none.
        captions: the caption of each image; empty if no image has one.
        folders: the folder of each image in the archive.
        tabled: whether there is a table of labels. If so, folders do not count as classes.
        broken: a line for each file that cannot be read.
        notes: lines about files that were left out.
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
        """Scan a .tar: read its headers and the files beside its images; `where` names it in messages.

        Raises:
            Vanished: the file was removed meanwhile.
            FromNoiseError: the file is not an archive, or is compressed as a whole.
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
        """Write the summary to a file, for `read`."""
        said = {name: value for name, value in vars(self).items() if name not in ("rows", "names")}
        np.savez(out, rows=self.rows, names=np.frombuffer(self.names, np.uint8),
                 said=np.frombuffer(json.dumps(said).encode(), np.uint8))  # fmt: skip

    @classmethod
    def read(cls, path: Path) -> "Scan":
        """Read a summary that `write` wrote; raises any exception if the file is something else."""
        with np.load(path) as kept:
            rows, names = kept["rows"], kept["names"].tobytes()
            found = cls(rows, names, **json.loads(kept["said"].tobytes()))
        n = len(rows)
        if rows.shape != (n, COLUMNS) or not n == len(found.given) == len(found.folders):
            raise ValueError("parts of different lengths")
        return found
