"""One shard, opened: where its images lie, and what is said of them."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import torch
from PIL import Image
from torch import Tensor

from fromnoise.data import huggingface
from fromnoise.data._cache import Vanished
from fromnoise.data._members import Window
from fromnoise.data._remote import is_ending
from fromnoise.data._scanned import Scan
from fromnoise.data.decode import decoded, insist_on_size
from fromnoise.data.encoded import Encoded
from fromnoise.data.huggingface import Rows
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

TAR, PARQUET = ".tar", ".parquet"
_TOGETHER = 256
"""Rows of a table that are written together: few, since one of them is looked for at a time."""


class Packed(Encoded):
    """The images of one .tar, which stays open, so that its file may be removed meanwhile.

    Attributes:
        bytes: of the file, when it was opened.
        given, folders, tabled: see `Scan`.

    Args:
        path: where it lies.
        where: what it is called in messages.
        scan: what it holds.

    Raises:
        Vanished: it was removed.
    """

    looked_into = False

    def __init__(self, path: Path, where: str, scan: Scan):
        self.name, self.file = where, opened(path)
        self.bytes = self.length()
        self._rows, self._names = scan.rows, scan.names
        self.given, self.folders, self.tabled = scan.given, scan.folders, scan.tabled
        self.broken, self.captions, self.notes = scan.broken, scan.captions, scan.notes
        self.labels = torch.full((len(self),), -1)

    def __len__(self) -> int:
        return len(self._rows)

    def length(self) -> int:
        """Bytes of the file, now."""
        return os.fstat(self.file.fileno()).st_size

    def __del__(self) -> None:
        if hasattr(self, "file"):
            self.file.close()

    @contextmanager
    def opened(self, index: int, size: tuple[int, int] | None = None) -> Iterator[Image.Image]:
        _, _, _, offset, stored, length, _ = self._rows[index].tolist()
        insist_on_size(length, self.where(index))
        with decoded(io.BufferedReader(Window(self.file.fileno(), offset, stored), 2**16), size) as image:
            yield image

    def where(self, index: int) -> str:
        _, start, end, *_ = self._rows[index].tolist()
        return f"{self.name}: {self._names[start:end].decode()}"


def opened(path: Path) -> io.BufferedReader:
    """As `files.opened`, of a file that may be let go of.

    Raises:
        Vanished: it is not there.
        Unreadable: it cannot be read.
    """
    try:
        return files.opened(path)
    except files.Unreadable:
        if not os.path.exists(path):
            raise Vanished from None
        raise


def labelled(shard: Packed | Rows, names: Sequence[str]) -> Tensor:
    """The label of each image as a number of one of `names`, -1 where there is none: int64 [N].

    Numbers count the names, words are looked up, and where nothing is said the outermost folder that is called like a
    class is the class.

    Raises:
        FromNoiseError: a label that is none of them; in one line with the image.
    """
    number = {name: i for i, name in enumerate(names)}
    if isinstance(shard, Rows):
        return _of_table(shard, number)
    if any(label is not None for label in shard.given) or shard.tabled:
        return torch.tensor([_number(label, number, shard, i) for i, label in enumerate(shard.given)])
    of_folder = {folder: next((number[part] for part in PurePosixPath(folder).parts if part in number), -1)
                 for folder in set(shard.folders)}  # fmt: skip
    return torch.tensor([of_folder[folder] for folder in shard.folders])


def _of_table(shard: Rows, number: Mapping[str, int]) -> Tensor:
    counted = list(shard.classes) == [str(i) for i in range(len(shard.classes))]
    own = range(len(shard.classes)) if counted else shard.classes
    row = torch.tensor([*(_number(label, number, shard, None) for label in own), -1])
    return row[shard.labels]  # the last one is that of -1


def _number(label: int | str | None, number: Mapping[str, int], shard: Encoded, index: int | None) -> int:
    if label is None:
        return -1
    found = label if isinstance(label, int) else number.get(files.one_line(label), -1)
    if 0 <= found < len(number):
        return found
    where, count = shard.name if index is None else shard.where(index), len(number)
    known = f"0 to {count - 1}" if isinstance(label, int) else ", ".join([*number][:8]) + (", ..." if count > 8 else "")
    raise FromNoiseError(f"{files.one_line(where)}: has the label {files.one_line(label)[:80]}, and the {count} "
                         f"classes are {known}: data.classes says how many there are, or names them")  # fmt: skip


def kinds_of_labels(shard: Packed | Rows) -> list[str]:
    """Names of the classes, where the shard itself names them; else nothing."""
    return [files.one_line(name) for name in shard.classes] if isinstance(shard, Rows) and shard.named else []


def has_labels(shard: Packed | Rows) -> bool:
    """Whether any image has one."""
    return bool(shard.classes) if isinstance(shard, Rows) else any(label is not None for label in shard.given)


def rows_of(path: Path, where: str) -> int:
    """How many a parquet file has, by its footer; see `footer`."""
    with files.opened(path) as file:
        return footer(file, where)


def footer(file: BinaryIO, where: str) -> int:
    """Rows of a parquet file, of which only the end is read.

    Raises:
        FromNoiseError: it is none, or pyarrow is not installed.
    """
    huggingface.library(where)
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_metadata(file).num_rows
    except pyarrow.ArrowException as error:
        raise FromNoiseError(f"{where}: no parquet file ({files.one_line(error)})") from None


def label_column(path: Path, where: str, columns: Mapping[str, str]) -> tuple[set[int | str], list[str] | None]:
    """(the labels that a parquet file has, the names of its classes where it says them), of which only that is read.

    Raises:
        FromNoiseError: it is no parquet file, has no images, or no such labels.
    """
    datasets = huggingface.library(where)
    import pyarrow
    import pyarrow.parquet

    try:
        with files.opened(path) as source:
            parquet = pyarrow.parquet.ParquetFile(source)
            features = datasets.Features.from_arrow_schema(parquet.schema_arrow)
            label = huggingface.chosen_columns(features, where, columns)[1]
            names = getattr(features.get(label), "names", None)
            if label is None or names is not None:
                return set(), None if names is None else [files.one_line(name) for name in names]
            cells = parquet.read(columns=[label]).column(0).unique().to_pylist()
    except pyarrow.ArrowException as error:
        raise FromNoiseError(f"{where}: cannot be read as parquet ({files.one_line(error)})") from None
    found = {int(cell) if isinstance(cell, float) and cell == int(cell) else cell for cell in cells if cell == cell}
    if not all(isinstance(cell, int | str | None) for cell in found):
        raise FromNoiseError(f"{where}: the column {label!r} holds no classes: numbers from 0, or words")
    return {cell for cell in found if cell not in (None, "", -1)}, None


def unpack(path: Path, where: str, columns: Mapping[str, str], out: BinaryIO) -> None:
    """The columns of a parquet file that are read, as Arrow writes them, of which any row is read by itself.

    Raises:
        Vanished: it was removed.
        FromNoiseError: it is none, has no images, or pyarrow is not installed.
    """
    datasets = huggingface.library(where)
    import pyarrow
    import pyarrow.parquet

    try:
        with opened(path) as source:
            parquet = pyarrow.parquet.ParquetFile(source)
            own = parquet.schema_arrow
            features = datasets.Features.from_arrow_schema(own)
            read = {column for column in huggingface.chosen_columns(features, where, columns) if column}
            names = [name for name in own.names if name in read]
            said = datasets.Features({name: features[name] for name in names}).arrow_schema.metadata
            schema = pyarrow.schema([own.field(name) for name in names], said)
            with pyarrow.ipc.new_stream(out, schema) as writer:
                for batch in parquet.iter_batches(_TOGETHER, columns=names):
                    if is_ending():
                        raise FromNoiseError("the program ends")
                    writer.write_batch(pyarrow.record_batch(batch.columns, schema=schema))
    except (pyarrow.ArrowException, ValueError) as error:
        if isinstance(error, FromNoiseError):
            raise
        raise FromNoiseError(f"{where}: cannot be read as parquet ({files.one_line(error)})") from None


def unpacked(path: Path, where: str, columns: Mapping[str, str]) -> Rows:
    """What `unpack` wrote, mapped into memory.

    Raises:
        Vanished: it was removed meanwhile.
        FromNoiseError: it holds no images or no labels; see `Rows`.
    """
    datasets = huggingface.library(where)
    try:
        table = datasets.Dataset.from_file(str(path))
    except FileNotFoundError:
        raise Vanished from None
    return Rows(table, where, columns)
