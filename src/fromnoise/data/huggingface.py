"""Hugging Face data sets: from the hub, from a folder that `save_to_disk` wrote, or from parquet files."""

import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fromnoise.data.decode import decoded, insist_on_size
from fromnoise.data.encoded import Encoded
from fromnoise.errors import FromNoiseError, unknown
from fromnoise.system.disk import files, hub

HUB = hub.SCHEME
_CAPTIONS = ("text", "caption", "captions", "prompt")
_LABELS = ("label", "labels", "class", "fine_label")


class Rows(Encoded):
    """A memory-mapped table of the library `datasets`: a column of images, and optional ones of labels and captions.

    The default columns are the first one of images; the first one of classes, or else one of integers or strings called
    label, labels, class or fine_label; and one of strings called text, caption, captions or prompt. `data.columns`
    selects others.

    Attributes:
        columns: the names of the columns of images, labels and captions.
        named: whether the table itself names its classes.

    Args:
        table: a `datasets.Dataset`.
        name: name of the data set in messages.
        columns: names of columns, by "image", "label" and "caption".

    Raises:
        FromNoiseError: there is no column of images, or none with a given name.
    """

    looked_into = False

    def __init__(self, table: Any, name: str, columns: Mapping[str, str]):
        import datasets

        self.name = name
        self.columns = image, label, caption = chosen_columns(table.features, name, columns)
        try:
            self._images = table.select_columns([image]).cast_column(image, datasets.Image(decode=False))
        except Exception as error:  # from Arrow
            raise FromNoiseError(f"{name}: the column {image!r} holds no images ({files.one_line(error)})") from None
        self._image = image
        self.labels = torch.full((len(table),), -1)
        self.named = label is not None and getattr(table.features[label], "names", None) is not None
        if label is not None:
            self.classes, self.labels = _labels(table, label, name)
        self.captions = _Words(table.select_columns([caption]), caption) if caption is not None else ()
        used = [f"{what} {column!r}" for what, column in (("labels", label), ("captions", caption)) if column]
        self.broken: Sequence[str] = ()
        self.notes = [f"images of the column {image!r}" + (f", {' and '.join(used)}" if used else "")]

    def __len__(self) -> int:
        return len(self._images)

    @contextmanager
    def opened(self, index: int, size: tuple[int, int] | None = None) -> Iterator[Image.Image]:
        cell = self._images[index][self._image]
        if cell is None:
            raise ValueError("no image in this row")
        content = cell["bytes"]
        if content is None:
            content = files.read_bytes(cell["path"], 2**30)
        insist_on_size(len(content), self.where(index))
        with decoded(io.BytesIO(content), size) as image:
            yield image

    def where(self, index: int) -> str:
        return f"{self.name}, row {index}"


class _Words(Sequence[str]):
    """A column of captions, read on demand; if an image has several, the first one counts."""

    def __init__(self, table: Any, column: str):
        self.table, self.column = table, column

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        cell = self.table[int(index)][self.column]
        if isinstance(cell, list):
            cell = cell[0] if cell else None
        return "" if cell is None else " ".join(str(cell).split())


def chosen_columns(
    features: Mapping[str, Any], name: str, columns: Mapping[str, str]
) -> tuple[str, str | None, str | None]:
    """The names of the columns of images, labels and captions; for arguments and errors see `Rows`."""
    import datasets

    for column in columns.values():
        if column not in features:
            raise unknown("column", column, map(files.one_line, features))
    image = columns.get("image") or _first(features, datasets.Image)
    if image is None:
        raise FromNoiseError(f"{name}: no column of images ({', '.join(map(files.one_line, features))}); "
                             "name it with data.columns.image")  # fmt: skip
    label = (
        columns.get("label")
        or _first(features, datasets.ClassLabel)
        or _named(features, _LABELS, "int", "uint", "string")
    )
    return image, label, columns.get("caption") or _named(features, _CAPTIONS, "string", "list")


def _first(features: Mapping[str, Any], kind: type) -> str | None:
    return next((name for name, feature in features.items() if isinstance(feature, kind)), None)


def _named(features: Mapping[str, Any], names: Sequence[str], *kinds: str) -> str | None:
    """The first column with one of these names whose type begins with one of `kinds`."""

    for name in names:
        feature = features.get(name)
        several = isinstance(feature, list) or hasattr(feature, "feature")
        if ("list" if several else str(getattr(feature, "dtype", ""))).startswith(kinds):
            return name
    return None


def _labels(table: Any, column: str, name: str) -> tuple[list[str], torch.Tensor]:
    """(names of the classes, label of each row, -1 for none)."""
    numbers = np.asarray(table.select_columns([column]).with_format("numpy")[column][:])
    names = getattr(table.features[column], "names", None)
    if numbers.dtype.kind == "f":  # integers with missing values are read as floats
        missing = ~np.isfinite(numbers)
        if (numbers[~missing] % 1 == 0).all():
            numbers = np.where(missing, -1, numbers).astype(np.int64)
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        cells = numbers.tolist()
        if numbers.ndim != 1 or not all(isinstance(word, str | int | float | np.generic | None) for word in cells):
            raise FromNoiseError(f"{name}: the column {column!r} holds no classes: numbers from 0, or words")
        given = [None if word is None or word != word else str(word) for word in cells]
        words = sorted({word for word in given if word})
        number = {word: i for i, word in enumerate(words)}
        return words, torch.tensor([number.get(word or "", -1) for word in given])
    if len(numbers) and (numbers.min() < -1 or numbers.max() >= 2**20):
        raise FromNoiseError(f"{name}: the column {column!r} holds {numbers.min()} to {numbers.max()}; classes are 0, "
                             "1, 2, ..., and data.columns.label names another column")  # fmt: skip
    count = int(numbers.max()) + 1 if len(numbers) else 0
    if names is not None and count > len(names):
        raise FromNoiseError(f"{name}: the column {column!r} holds {count - 1}, but names only {len(names)} classes")
    return list(names or [str(i) for i in range(count)]), torch.from_numpy(numbers.astype(np.int64))


def is_one(name: str) -> bool:
    """Whether a name stands for a data set of this kind."""
    if name.startswith(HUB) or name.lower().endswith(".parquet"):
        return True
    folder = files.expanded(name)
    return os.path.isdir(folder) and ((folder / "dataset_info.json").is_file() or bool(_parquet(name)))


def library(name: str) -> Any:
    """The module `datasets`.

    Raises:
        FromNoiseError: it is not installed; the message says that `name` needs it.
    """
    try:
        import datasets
    except ImportError as error:
        raise FromNoiseError(f'{name} needs datasets ({error}): pip install "fromnoise[data]"') from None
    return datasets


def load_rows(name: str, split: str, columns: Mapping[str, str]) -> Rows:
    """Load a table.

    Args:
        name: hf://owner/name[:configuration][@revision], a folder that `save_to_disk` wrote, or parquet files by path
            or pattern.
        split: name of the split.
        columns: see `Rows`.

    Raises:
        FromNoiseError: `datasets` is not installed or cannot load the table.
    """
    datasets = library(name)
    before = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # the error itself contains what it would log
    silent = not sys.stderr.isatty() and datasets.is_progress_bar_enabled()
    if silent:
        datasets.disable_progress_bars()
    try:
        if name.startswith(HUB):
            table = _of_hub(name, split)
        elif parquet := _parquet(name):
            table = datasets.load_dataset("parquet", data_files={split: [str(p) for p in parquet]}, split=split)
        else:
            table = datasets.load_from_disk(str(files.expanded(name)))
            table = table[split] if isinstance(table, datasets.DatasetDict) else table
    except FromNoiseError:
        raise
    except Exception as error:  # from Arrow or the disk
        raise FromNoiseError(f"{name}: {files.one_line(error) or type(error).__name__}") from None
    finally:
        datasets.logging.set_verbosity(before)
        if silent:
            datasets.enable_progress_bars()
    if not len(table):
        raise FromNoiseError(f"{name}: no row in it")
    return Rows(table, name.removeprefix(HUB) if name.startswith(HUB) else Path(name).name, columns)


def _of_hub(name: str, split: str) -> Any:
    """The `datasets.Dataset` of hf://[datasets/]owner/name[:configuration][@revision], cached by that library."""
    import datasets

    path, _, revision = name.removeprefix(HUB).partition("@")
    path, _, configuration = path.partition(":")
    path = path.removeprefix("datasets/") if path.count("/") > 1 else path
    with hub.talking(name, f"datasets/{path}"):
        return datasets.load_dataset(path, configuration or None, split=split, revision=revision or None)


def _parquet(name: str) -> list[Path]:
    """The parquet files that a name stands for: a file, a pattern, or those in a folder and its subfolders."""
    path = files.expanded(name)
    if os.path.isdir(path):
        return sorted(path.rglob("*.parquet"))
    if not name.lower().endswith(".parquet"):
        return []
    found = sorted(Path(one) for one in glob(str(path))) if has_magic(str(path)) else [path]
    if not found or not all(os.path.isfile(one) for one in found):
        raise FromNoiseError(f"{name}: no such file")
    return found
