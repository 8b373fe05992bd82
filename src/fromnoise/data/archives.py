"""Images in archives, read without unpacking: WebDataset's .tar shards, EDM's .zip, or any packed folder."""

import os
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import glob, has_magic
from itertools import product
from math import prod
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image

from fromnoise.data._beside import ENDINGS as BESIDE
from fromnoise.data._beside import TABLES, Beside, Said
from fromnoise.data._members import Member, members, opened
from fromnoise.data.decode import decoded, endings
from fromnoise.data.encoded import Encoded
from fromnoise.data.images import Progress
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

ENDINGS = (".tar", ".zip")
_MOST_CLASSES, _MOST_SHARDS = 2**20, 10**6
COLUMNS = 7
"""Numbers kept per image: its archive, start and end of its name, and the numbers of its `Member`."""


class Archives(Encoded):
    """Images in .tar and .zip files. Nothing is unpacked: only the location of each image is kept.

    Every image can be read individually, so that the order is shuffled over all shards, every process and loader reads
    its share, and a run resumes in the middle of a shard bit for bit. The label of NAME.jpg is in NAME.cls, under
    "label" or "class" in NAME.json, or in EDM's dataset.json; without any of these, its class is its top folder in the
    archive. A caption is in NAME.txt, under "text" or "caption" in NAME.json, or in metadata.jsonl.

    Args:
        paths: paths of the archives, in order.
        name: name of the data set in messages.
        progress: see `load_encoded`.

    Raises:
        FromNoiseError: a file is not an archive or is compressed as a whole, no archive holds an image, or some labels
            are numbers and others words.
    """

    looked_into = False

    def __init__(self, paths: Sequence[Path], name: str, progress: Progress | None = None):
        self.paths, self.name = list(paths), name
        broken: list[str] = []
        index = Index()
        tick = progress("reading archives", len(self.paths)) if progress else None
        for number, path in enumerate(self.paths):
            index.add(number, path, broken)
            if tick:
                tick()
        if not index.rows:
            first = f": {broken[0]}" if broken else ""
            raise FromNoiseError(f"{name}: no image in {len(self.paths)} archives{first}")
        self._rows, self._names = np.frombuffer(index.rows, np.int64).reshape(-1, COLUMNS), bytes(index.names)
        self.classes, labels = index.classes(name)
        self.labels = torch.tensor(labels)
        self.captions = index.captions if any(index.captions) else ()
        self.notes, self.broken = index.notes(), broken

    def __len__(self) -> int:
        return len(self._rows)

    @contextmanager
    def opened(self, index: int, size: tuple[int, int] | None = None) -> Iterator[Image.Image]:
        path, member = self._place(index)
        with opened(path, member) as file, decoded(file, size) as image:
            yield image

    def where(self, index: int) -> str:
        path, member = self._place(index)
        return f"{path}: {member.name}"

    def _place(self, index: int) -> tuple[Path, Member]:
        number, start, end, offset, stored, length, kind = self._rows[index].tolist()
        return self.paths[number], Member(self._names[start:end].decode(), offset, stored, length, kind)


class Index:
    """What is kept about all images in archives: flat arrays, since objects would take ten times the memory."""

    def __init__(self) -> None:
        self.rows = array("q")
        self.names = bytearray()
        self.labels: list[int | str | None] = []
        self.captions: list[str] = []
        self.tops = array("q")  # the folder of each image
        self.kinds: dict[int | str, int | str] = {}  # known labels, so that equal ones share one object
        self.folders: dict[str, int] = {}
        self.further = self.others = self.unmet = 0
        self.labelled = False  # whether there is a table of labels; if so, folders are not classes

    def add(self, number: int, path: Path, broken: list[str]) -> None:
        """Add the images of one archive."""
        images: list[Member] = []
        tables: list[Member] = []
        beside = Beside(path, broken)
        for member in members(path, broken):
            name = PurePosixPath(member.name)
            if any(part.startswith(".") or part == "__MACOSX" for part in name.parts):
                continue
            if name.suffix.lower() in endings():
                images.append(member)
            elif name.name in TABLES:
                tables.append(member)
            elif name.suffix.lower() in BESIDE:
                beside.read(member)
            else:
                self.others += 1
        beside.read_tables(tables, images)
        for member in images:
            said = beside.of(member.name)
            if said is None:
                self.further += 1
            else:
                self._keep(number, member, said)
        self.others += beside.others
        self.unmet += beside.unmet()
        self.labelled = self.labelled or beside.labelled

    def _keep(self, number: int, member: Member, said: Said) -> None:
        start = len(self.names)
        self.names += member.name.encode("utf-8", "replace")
        self.rows.extend((number, start, len(self.names), member.offset, member.stored, member.length, member.kind))
        label = files.one_line(said.label) if isinstance(said.label, str) else said.label
        self.labels.append(None if label is None else self.kinds.setdefault(label, label))
        self.captions.append(said.caption)
        folder = str(PurePosixPath(member.name).parent)
        self.tops.append(self.folders.setdefault(folder, len(self.folders)))

    def classes(self, name: str) -> tuple[list[str], list[int]]:
        """(the names of the classes, the label of each image).

        Raises:
            FromNoiseError: some labels are numbers and others words, or a number is not a class.
        """
        given = {label for label in self.labels if label is not None}
        if not given:
            return ([], [-1] * len(self.labels)) if self.labelled else self._of_folders()
        numbers = [label for label in given if isinstance(label, int)]
        if len(numbers) == len(given):
            if not 0 <= min(numbers) <= max(numbers) < _MOST_CLASSES:
                least, most = (files.one_line(number)[:40] for number in (min(numbers), max(numbers)))
                raise FromNoiseError(f"{name}: labels from {least} to {most}; classes are 0, 1, 2, ..., and -1 is none")
            return ([str(i) for i in range(max(numbers) + 1)],
                    [-1 if label is None else int(label) for label in self.labels])  # fmt: skip
        if numbers:
            word = next(label for label in given if isinstance(label, str))
            raise FromNoiseError(f"{name}: labels are numbers ({numbers[0]}) and words ({files.one_line(word)}); make "
                                 "them one kind")  # fmt: skip
        words = sorted(str(label) for label in given)
        number = {word: i for i, word in enumerate(words)}
        return words, [-1 if label is None else number[str(label)] for label in self.labels]

    def _of_folders(self) -> tuple[list[str], list[int]]:
        """Classes from folders: the first level at which folders differ, since all may lie in one packed folder."""
        parts = [PurePosixPath(folder).parts for folder in self.folders]
        shared = 0
        while all(len(p) > shared for p in parts) and len({p[shared] for p in parts}) == 1:
            shared += 1
        tops = [files.one_line(p[shared]) if len(p) > shared else None for p in parts]
        names = sorted({top for top in tops if top is not None})
        number = {top: i for i, top in enumerate(names)}
        return names, [-1 if tops[i] is None else number[str(tops[i])] for i in self.tops]

    def notes(self) -> list[str]:
        """Lines about the files that were left out."""
        found = []
        if self.others:
            found.append(f"left out {self.others:,} files in the archives that are not images")
        if self.further:
            found.append(f"left out {self.further:,} further images of samples that have several")
        if self.unmet:
            found.append(f"{self.unmet:,} images that tables in the archives name are missing")
        return found


def named(name: str) -> list[Path]:
    """The archives that a name stands for: a file, shards-{000..012}.tar, or a pattern with *.

    Returns an empty list if the name does not stand for archives.

    Raises:
        FromNoiseError: a range in braces includes files that do not exist.
    """
    if not name.lower().endswith(ENDINGS):
        return []
    wanted = [files.expanded(one) for one in expanded(name)]
    found = [Path(one) for path in wanted for one in (sorted(glob(str(path))) if has_magic(str(path)) else [str(path)])]
    missing = [path for path in found if not os.path.isfile(path)]
    if len(wanted) > 1 and missing:
        raise FromNoiseError(f"{missing[0]}: no such file ({len(missing)} of {len(wanted)} are missing)")
    return [] if missing else found


def expanded(name: str) -> list[str]:
    """Expand braces as a shell does: {00..12} and {a,b}."""
    parts = re.split(r"\{([^{}]*)\}", name)
    options: list[Sequence[str]] = []
    for i, part in enumerate(parts):
        if i % 2 == 0:
            options.append([part])
        elif between := re.fullmatch(r"(\d{1,18})\.\.(\d{1,18})", part):
            first, last = between.groups()
            numbers = range(int(first), int(last) + 1)
            options.append([str(n).zfill(len(first)) for n in numbers[: _MOST_SHARDS + 1]])
        else:
            options.append(part.split(","))
        if prod(map(len, options)) > _MOST_SHARDS:
            raise FromNoiseError(f"{files.one_line(name)}: more than a million shards")
    return ["".join(words) for words in product(*options)]
