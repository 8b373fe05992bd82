"""Captions of images: from NAME.txt beside an image, or metadata.jsonl in its folder."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromnoise.system.disk import files

if TYPE_CHECKING:
    import numpy as np

TABLE = "metadata.jsonl"
_LARGEST = 2**16
_LARGEST_TABLE = 2**30
_NAMES, _WORDS = ("file_name", "image", "path"), ("text", "caption", "prompt")


class Streamed(Sequence[str]):
    """Captions that are read on demand; reading one may open a shard."""

    @abstractmethod
    def of(self, indices: Sequence[int]) -> list[str]:
        """The captions of these examples."""

    @abstractmethod
    def few(self, most: int) -> list[str]:
        """At most `most` captions that are cheap to read."""

    def some(self, numbers: "Sequence[int] | np.ndarray") -> "Streamed":
        """Those of some of the examples, by their numbers."""
        return _Some(self, numbers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.of(range(*index.indices(len(self))))
        return self.of([range(len(self))[index]])[0]


class _Some(Streamed):
    def __init__(self, whole: Streamed, numbers: "Sequence[int] | np.ndarray"):
        self.whole, self.numbers = whole, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def of(self, indices: Sequence[int]) -> list[str]:
        return self.whole.of([int(self.numbers[i]) for i in indices])

    def few(self, most: int) -> list[str]:
        return self.whole.few(most)


def captions_of(paths: Sequence[Path], beside: Iterable[Path]) -> tuple[list[str], list[str]]:
    """(a caption for each image, "" if it has none; a line for each file that could not be read).

    The list of captions is empty if no image has one. A line of metadata.jsonl is {"file_name": ..., "text": ...}, with
    the file's path relative to the table's folder.

    Args:
        paths: paths of the images.
        beside: the .txt and metadata.jsonl files beside them.
    """
    said, notes = {}, []
    stems = {path.with_suffix("") for path in paths}
    for path in beside:
        try:
            if path.name == TABLE:
                text = files.read_text(path, _LARGEST_TABLE)
                said |= {path.parent / name: words for name, words in rows(text, path)}
            elif path.with_suffix("") in stems:
                said[path.with_suffix("")] = " ".join(files.read_text(path, _LARGEST).split())
        except (files.Unreadable, ValueError) as error:
            notes.append(files.one_line(f"captions: {error}"))
    found = [said.get(path, said.get(path.with_suffix(""), "")) for path in paths]
    if not any(found):
        return [], notes
    return found, notes


def rows(text: str, where: object) -> Iterator[tuple[str, str]]:
    """The pairs (image, caption) in the lines of a table; a caption may be "".

    Raises:
        ValueError: a line is not an object with a file name and a text.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        row = files.parse_json(line, f"{where}, line {number}")
        row = row if isinstance(row, dict) else {}
        name, caption = _first(row, _NAMES), of_row(row)
        if not name or not any(isinstance(row.get(key), str) for key in _WORDS):
            raise ValueError(f"{where}, line {number}: is not an object with file_name and text")
        yield name, caption


def of_row(row: Mapping[str, Any]) -> str:
    """The caption in a row of a table, in one line; "" if there is none."""
    return " ".join(_first(row, _WORDS).split())


def _first(row: Mapping[str, Any], keys: Sequence[str]) -> str:
    return next((str(row[key]) for key in keys if isinstance(row.get(key), str)), "")
