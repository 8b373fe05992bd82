"""What files in an archive say of the images beside them: classes and captions."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fromnoise.data import captions
from fromnoise.data._members import Member, opened
from fromnoise.system.disk import files

LABELS = "dataset.json"
"""EDM's."""
TABLES = (LABELS, captions.TABLE)
ENDINGS = (".cls", ".txt", ".json")
"""Of what is said of one image."""
_KEYS = ("label", "class", "cls", "class_name")
_LARGEST_JSON, _LARGEST_WORDS, _LARGEST_ROW = 2**20, 2**16, 2**12
"""Bytes of a .json, of a .txt or .cls, and of a table for each image: a small .zip may unpack to any number of them."""


@dataclass
class Said:
    """Of one image."""

    label: int | str | None = None
    caption: str = ""
    met: bool = True  # whether the image is there

    def take(self, other: "Said") -> None:
        """What only the other says."""
        self.label = other.label if self.label is None else self.label
        self.caption = self.caption or other.caption
        other.met = True


class Beside:
    """What one archive's files say of its images.

    Attributes:
        labelled: whether a table of labels was there, which then decides: no folder is a class.
        others: tables of another kind.

    Args:
        path: of the archive.
        broken: where a line is added for what cannot be read.
    """

    def __init__(self, path: Path, broken: list[str]):
        self.path, self.broken = path, broken
        self.labelled, self.others = False, 0
        self._of_names: dict[str, Said] = {}  # by tables: whole names
        self._of_stems: dict[str, Said] = {}  # by files: names without their last ending
        self._of_keys: dict[str, Said] = {}  # and what is said of a whole sample
        self._taken: set[str] = set()

    def read(self, member: Member) -> None:
        """A file of one of the `ENDINGS`."""
        ending = PurePosixPath(member.name).suffix.lower()
        with self._named(member) as where:
            text = self._text(member, _LARGEST_JSON if ending == ".json" else _LARGEST_WORDS)
            own = self._of_stems.setdefault(_stem(member.name), Said())
            if ending == ".json":
                row = files.parse_json(text, where)
                if isinstance(row, dict):
                    own.take(Said(_label(row), captions.of_row(row)))
            elif ending == ".cls":
                own.label = _class(text.strip())
            else:
                own.caption = " ".join(text.split())

    def read_tables(self, tables: Sequence[Member], images: Sequence[Member]) -> None:
        """Those of the archive, once all of its images are known."""
        for member in tables:
            folder = PurePosixPath(member.name).parent
            with self._named(member) as where:
                text = self._text(member, _LARGEST_JSON + _LARGEST_ROW * len(images))
                if member.name.endswith(captions.TABLE):
                    for image, caption in captions.rows(text, where):
                        self._of_names.setdefault(str(folder / image), Said(met=False)).caption = caption
                    continue
                content = files.parse_json(text, where)
                if not isinstance(content, dict) or "labels" not in content:
                    self.others += 1
                    continue
                self.labelled = True
                for image, label in _rows(content["labels"]):
                    self._of_names.setdefault(str(folder / image), Said(met=False)).label = label
        stems = {_stem(member.name) for member in images}
        for stem, said in self._of_stems.items():
            if stem not in stems or stem == key_of(stem):  # 0.more.json is of the sample 0, a.1.txt of a.1.png alone
                self._of_keys.setdefault(key_of(stem), Said()).take(said)

    def of(self, name: str) -> Said | None:
        """Of an image; None for another picture of a sample that has one: a mask, a depth map."""
        stem, key = _stem(name), key_of(name)
        own = stem in self._of_stems and stem not in self._taken
        if key in self._of_keys and key in self._taken and not own:
            return None
        self._taken |= {stem, key}
        found = Said()
        by_tables, stems, keys = self._of_names, self._of_stems, self._of_keys
        for known, which in ((by_tables, name), (by_tables, stem), (stems, stem), (keys, key)):
            if which in known:
                found.take(known[which])
        return found

    def unmet(self) -> int:
        """Images that tables name and nobody asked for."""
        return sum(not said.met for said in self._of_names.values())

    @contextmanager
    def _named(self, member: Member) -> Iterator[str]:
        """The member's place; what goes wrong in the block, of zlib, of the disk, of the words themselves, is named."""
        where = f"{self.path}: {member.name}"
        try:
            yield where
        except files.Unreadable as error:
            self.broken.append(str(error))
        except Exception as error:
            self.broken.append(files.one_line(f"{where} ({files.one_line(error)})"))

    def _text(self, member: Member, most: int) -> str:
        if member.length > most:
            raise ValueError(f"has {member.length:,} bytes, and may have {most:,}")
        with opened(self.path, member) as file:
            return file.read().decode()


def key_of(name: str) -> str:
    """What the files of one sample share, as WebDataset has it: all before the first dot of the last part."""
    folder, _, last = name.rpartition("/")
    stem = last.split(".", 1)[0]
    return f"{folder}/{stem}" if folder else stem


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _class(word: Any) -> int | str | None:
    """A number or a word; none where it is empty, -1, or something else."""
    if isinstance(word, str) and re.fullmatch(r"-?\d{1,18}", word):
        word = int(word)
    return word if isinstance(word, int | str) and not isinstance(word, bool) and word not in ("", -1) else None


def _label(row: dict[str, Any]) -> int | str | None:
    return next((found for key in _KEYS if (found := _class(row.get(key))) is not None), None)


def _rows(rows: Any) -> Iterator[tuple[str, int | None]]:
    """(image, label) of EDM's table."""
    for row in rows or []:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):
            raise ValueError('is not {"labels": [[image, class], ...]}')
        yield row[0], row[1] if isinstance(row[1], int) and not isinstance(row[1], bool) and row[1] != -1 else None
