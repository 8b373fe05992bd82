"""One open shard: its images, labels and captions."""

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
"""Rows of a table that are written together: few, because rows are read one at a time."""


class Packed(Encoded):
    """The images of one .tar. It stays open, so that it can be read even if its file is removed from the cache.

    Attributes:
        bytes: length of the file when it was opened.
        given, folders, tabled: see `Scan`.

    Args:
        path: path of the file.
        where: its name in messages.
        scan: its summary.

    Raises:
        Vanished: the file was removed.
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
        """The current length of the file in bytes."""
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
    """Open a file that may be removed from the cache; see `files.opened`.

    Raises:
        Vanished: the file does not exist.
        Unreadable: the file cannot be read.
    """
    try:
        return files.opened(path)
    except files.Unreadable:
        if not os.path.exists(path):
            raise Vanished from None
        raise


def labelled(shard: Packed | Rows, names: Sequence[str]) -> Tensor:
    """The label of each image as an index into `names`, -1 for none: int64 [N].

    A number is used as the index, and a word is looked up. If the shard has no labels, the class of an image is the
    outermost of its folders that has the name of a class.

    Raises:
        FromNoiseError: a label is not among the classes; the message names the image.
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
    return row[shard.labels]  # label -1 picks the last entry


def _number(label: int | str | None, number: Mapping[str, int], shard: Encoded, index: int | None) -> int:
    if label is None:
        return -1
    found = label if isinstance(label, int) else number.get(files.one_line(label), -1)
    if 0 <= found < len(number):
        return found
    where, count = shard.name if index is None else shard.where(index), len(number)
    known = f"0 to {count - 1}" if isinstance(label, int) else ", ".join([*number][:8]) + (", ..." if count > 8 else "")
    raise FromNoiseError(f"{files.one_line(where)}: has the label {files.one_line(label)[:80]}, but the {count} "
                         f"classes are {known}: set data.classes to their number or their names")  # fmt: skip


def kinds_of_labels(shard: Packed | Rows) -> list[str]:
    """The names of the classes, if the shard itself names them; otherwise an empty list."""
    return [files.one_line(name) for name in shard.classes] if isinstance(shard, Rows) and shard.named else []


def has_labels(shard: Packed | Rows) -> bool:
    """Whether any image of the shard has a label."""
    return bool(shard.classes) if isinstance(shard, Rows) else any(label is not None for label in shard.given)


def rows_of(path: Path, where: str) -> int:
    """The number of rows of a parquet file; see `footer`."""
    with files.opened(path) as file:
        return footer(file, where)


def footer(file: BinaryIO, where: str) -> int:
    """The number of rows of a parquet file, from its footer; the rest is not read.

    Raises:
        FromNoiseError: the file is not a parquet file, or pyarrow is not installed.
    """
    huggingface.library(where)
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_metadata(file).num_rows
    except pyarrow.ArrowException as error:
        raise FromNoiseError(f"{where}: no parquet file ({files.one_line(error)})") from None


def label_column(path: Path, where: str, columns: Mapping[str, str]) -> tuple[set[int | str], list[str] | None]:
    """(the set of labels of a parquet file, the names of its classes or None); only the label column is read.

    Raises:
        FromNoiseError: the file is not a parquet file, has no images, or its label column holds no classes.
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
    """Write the needed columns of a parquet file in Arrow's format, in which rows can be read one by one.

    Raises:
        Vanished: the file was removed.
        FromNoiseError: the file is not a parquet file, has no images, or pyarrow is not installed.
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
                        raise FromNoiseError("the program is ending")
                    writer.write_batch(pyarrow.record_batch(batch.columns, schema=schema))
    except (pyarrow.ArrowException, ValueError) as error:
        if isinstance(error, FromNoiseError):
            raise
        raise FromNoiseError(f"{where}: cannot be read as parquet ({files.one_line(error)})") from None


def unpacked(path: Path, where: str, columns: Mapping[str, str]) -> Rows:
    """The rows that `unpack` wrote, mapped into memory.

    Raises:
        Vanished: the file was removed meanwhile.
        FromNoiseError: the images or labels cannot be used; see `Rows`.
    """
    datasets = huggingface.library(where)
    try:
        table = datasets.Dataset.from_file(str(path))
    except FileNotFoundError:
        raise Vanished from None
    return Rows(table, where, columns)
