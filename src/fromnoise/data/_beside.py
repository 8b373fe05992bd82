"""Classes and captions of the images in an archive, from the files beside them."""

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
"""EDM's table of labels."""
TABLES = (LABELS, captions.TABLE)
ENDINGS = (".cls", ".txt", ".json")
"""Endings of files that describe one image."""
_KEYS = ("label", "class", "cls", "class_name")
_LARGEST_JSON, _LARGEST_WORDS, _LARGEST_ROW = 2**20, 2**16, 2**12
"""Most bytes of a .json, of a .txt or .cls, and of a table per image: a small .zip may unpack to any size."""


@dataclass
class Said:
    """The label and the caption of one image."""

    label: int | str | None = None
    caption: str = ""
    met: bool = True  # whether the image exists

    def take(self, other: "Said") -> None:
        """Fill in the label and the caption from `other` where they are missing."""
        self.label = other.label if self.label is None else self.label
        self.caption = self.caption or other.caption
        other.met = True


class Beside:
    """The labels and captions of the images in one archive.

    Attributes:
        labelled: whether there is a table of labels. If so, folders do not count as classes.
        others: number of tables of another kind.

    Args:
        path: path of the archive.
        broken: a list that gets a line for every file that cannot be read.
    """

    def __init__(self, path: Path, broken: list[str]):
        self.path, self.broken = path, broken
        self.labelled, self.others = False, 0
        self._of_names: dict[str, Said] = {}  # from tables: by full name
        self._of_stems: dict[str, Said] = {}  # from files: by name without its last ending
        self._of_keys: dict[str, Said] = {}  # from files: by sample
        self._taken: set[str] = set()

    def read(self, member: Member) -> None:
        """Read a file with one of the `ENDINGS`."""
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
        """Read the archive's tables, once all of its images are known."""
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
            if stem not in stems or stem == key_of(stem):  # 0.more.json describes sample 0; a.1.txt only a.1.png
                self._of_keys.setdefault(key_of(stem), Said()).take(said)

    def of(self, name: str) -> Said | None:
        """The label and caption of an image; None for further images of a sample, such as a mask or a depth map."""
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
        """Number of images that tables name but the archive does not contain."""
        return sum(not said.met for said in self._of_names.values())

    @contextmanager
    def _named(self, member: Member) -> Iterator[str]:
        """Yield the member's location; any error in the block becomes a line in `broken`."""
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
    """The key of a file's sample, as in WebDataset: its path up to the first dot of the file name."""
    folder, _, last = name.rpartition("/")
    stem = last.split(".", 1)[0]
    return f"{folder}/{stem}" if folder else stem


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _class(word: Any) -> int | str | None:
    """A label, which is a number or a word; None if it is empty, -1, or of another type."""
    if isinstance(word, str) and re.fullmatch(r"-?\d{1,18}", word):
        word = int(word)
    return word if isinstance(word, int | str) and not isinstance(word, bool) and word not in ("", -1) else None


def _label(row: dict[str, Any]) -> int | str | None:
    return next((found for key in _KEYS if (found := _class(row.get(key))) is not None), None)


def _rows(rows: Any) -> Iterator[tuple[str, int | None]]:
    """The pairs (image, label) of EDM's table."""
    for row in rows or []:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):
            raise ValueError('is not {"labels": [[image, class], ...]}')
        yield row[0], row[1] if isinstance(row[1], int) and not isinstance(row[1], bool) and row[1] != -1 else None
