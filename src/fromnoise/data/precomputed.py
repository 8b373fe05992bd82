"""Data sets that were encoded ahead of training: a folder of numbered parts and a description."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, ValidationError
from torch import Tensor

from fromnoise import data
from fromnoise.data.images import Progress
from fromnoise.errors import FromNoiseError
from fromnoise.registry.section import Section
from fromnoise.system.disk import files, storage

DESCRIPTION, STEM = "description", "encoded"
"""The subfolder with the description, and the name of its file."""
TENSORS, ABOUT, CAPTIONS = "examples", "about", "captions"
"""The files of a part."""

PART, BATCH = 4096, 64
"""Examples in a part, and examples that are encoded together."""

_CALLED = {
    "number": "the number of examples", "shape": "images of the shape", "classes": "the classes",
    "content": "images of the digest", "captions": "captions of the digest", "autoencoder": "the autoencoder",
    "latent": "latents of the shape", "precision": "the precision", "flip": "mirror images",
    "asked": "the text encoder", "batch": "the batch size", "part": "the part size",
}  # fmt: skip
"""The fields that determine the parts, and their names in messages, in the order in which they are compared."""


class Description(Section):
    """What was encoded, with which encoders and how.

    Attributes:
        data: name of the data set in messages.
        number, shape, classes, content: properties of the images; see `Images`.
        captions: SHA-256 of all captions; None if there are none.
        autoencoder: SHA-256 of the autoencoder's weights; None if only text was encoded.
        latent: shape (c, h, w) of the latents.
        precision: number format of the autoencoder's computation.
        flip: whether the mirror image of every image was encoded, too.
        text: the text encoder, after it was fitted to the captions.
        asked: the text encoder as it was requested, before fitting.
        batch: images that were encoded together, on which the last bits of the latents depend.
        part: examples in a part, a multiple of `batch`.
        source: the `DataConfig` with which the images can be loaded; None if unknown.
    """

    format: Literal[1] = 1
    data: str
    number: int = Field(ge=1)
    shape: tuple[int, int, int]
    classes: tuple[str, ...] = ()
    content: str | None = None
    captions: str | None = None
    autoencoder: str | None = None
    latent: tuple[int, int, int] | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    flip: bool = False
    text: dict[str, Any] | None = None
    asked: dict[str, Any] | None = None
    batch: int = Field(BATCH, ge=1)
    part: int = Field(PART, ge=1)
    source: dict[str, Any] | None = None

    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-self.number // self.part)

    @property
    def said(self) -> str:
        """Number of parts, for messages: "12 parts"."""
        return f"{self.parts:,} part{'s' if self.parts > 1 else ''}"

    def numbers(self, part: int) -> range:
        """The numbers of the images in a part."""
        return range(part * self.part, min((part + 1) * self.part, self.number))

    @property
    def key(self) -> str:
        """A hash, 32 hexadecimal digits, of everything that determines the content of the parts."""
        return storage.short_hash([self._value(name) for name in _CALLED])

    def insist_on(self, asked: "Description", folder: Path) -> None:
        """Check that an existing data set is the requested one.

        Raises:
            FromNoiseError: it is not; the message names the first difference.
        """
        for name, called in _CALLED.items():
            before, after = self._value(name), asked._value(name)
            if before != after:
                raise FromNoiseError(f"{folder} was encoded with {called} {_shown(before)}, but {_shown(after)} is "
                                     "asked for: name another folder")  # fmt: skip

    def _value(self, name: str) -> Any:
        return self.model_dump(mode="json")[name]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(map(str, value)) if len(value) < 13 else f"{', '.join(map(str, value[:12]))}, ..."
    text = "none" if value in (None, "") else str(value)
    return files.one_line(text[:12] if len(text) == 64 else text[:200])


def of_captions(captions: Iterable[str]) -> str | None:
    """SHA-256 of the captions, one for each image, after `tidy`; None if all are empty."""
    digest, some = hashlib.sha256(), False
    for text in captions:
        digest.update(text.encode() + b"\n")
        some = some or bool(text)
    return digest.hexdigest() if some else None


def is_one(path: str | Path) -> bool:
    """Whether a path is the folder of an encoded data set, complete or not."""
    return os.path.lexists(files.expanded(path) / DESCRIPTION / f"{STEM}.json")


def named(name: str) -> Path | None:
    """The folder of the encoded data set that `data.name` stands for; None if it stands for something else."""
    known = name.replace("_", "-") in data.names() or not is_one(name)
    return None if known else files.expanded(name)


def describe(folder: Path) -> Description:
    """The description of an encoded data set.

    Raises:
        FromNoiseError: the description is damaged, or of a later version.
    """
    place = folder / DESCRIPTION
    storage.verify_folder(place)
    try:
        return Description.model_validate(storage.read_text(place, STEM))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise FromNoiseError(
            f"{place}: not a description of encoded data that this version reads ({where}: {first['msg']})"
        ) from None


def place(folder: Path, part: int) -> Path:
    """The folder of a part."""
    return folder / f"part-{part:06d}"


def about(folder: Path, description: Description, part: int) -> dict[str, Any]:
    """The metadata of a part: `pixels`, the SHA-256 of its images, and the `sums` of each batch's latents.

    Raises:
        Damaged: the part is damaged or incomplete, or belongs to another data set.
    """
    where = place(folder, part)
    storage.verify_folder(where)
    found = storage.read_text(where, ABOUT)
    if not isinstance(found, dict) or found.get("of") != description.key or found.get("part") != part:
        raise storage.Damaged(f"{where}: not a part of this data set")
    return found


class Parts:
    """The parts of a complete encoded data set; their tensors are mapped into memory, not read.

    Args:
        folder: folder of the data set.
        progress: see `images.Progress`; counts the examples that are checked.
        checked: whether every part has just been compared with its SHA-256.

    Raises:
        FromNoiseError: parts are missing or damaged, or do not match the description.
    """

    def __init__(self, folder: Path, progress: Progress | None = None, checked: bool = False):
        self.folder, self.description = folder, describe(folder)
        numbers = range(self.description.parts)
        missing = [part for part in numbers if not place(folder, part).is_dir()]
        if missing:
            first = place(folder, missing[0]).name
            raise FromNoiseError(f"{folder}: {len(missing)} of its {len(numbers)} parts are missing, the first is "
                                 f"{first}: finish encoding it with the same command")  # fmt: skip
        tick = progress("checking the parts", self.description.number) if progress and not checked else lambda: None
        self.about, self.tensors = [], []
        for part in numbers:
            try:
                self.about.append(storage.read_text(place(folder, part), ABOUT) if checked
                                  else about(folder, self.description, part))  # fmt: skip
                self.tensors.append(self._opened(part))
            except storage.Damaged as error:
                raise FromNoiseError(f"{error}: encode it again with the same command, which replaces it") from None
            for _ in self.description.numbers(part):
                tick()

    def __getstate__(self) -> dict[str, Any]:
        """Only the folder: another process maps the files by itself."""
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"], checked=True)

    def _opened(self, part: int) -> dict[str, Tensor]:
        found, n, said = (
            storage.read_tensors(place(self.folder, part), TENSORS),
            len(self.description.numbers(part)),
            [],
        )
        if (latent := self.description.latent) is not None:
            said = [("latents", torch.float32, (n, *latent)), ("labels", torch.int64, (n,))]
            said += [("mirrored", torch.float32, (n, *latent))] if self.description.flip else []
        if self.description.text is not None:
            said += [("text_of", torch.int32, (n,))]
        for name, dtype, shape in said:
            if name not in found or found[name].dtype != dtype or tuple(found[name].shape) != shape:
                raise storage.Damaged(f"{place(self.folder, part)}: has no {name} of {list(shape)}")
        if self.description.text is not None and not _each_has(found["text_of"], found.get("text")):
            raise storage.Damaged(f"{place(self.folder, part)}: has no text for every example")
        return found

    def rows(self, name: str, numbers: np.ndarray) -> Tensor:
        """The rows of the tensor `name` for these examples: [len(numbers), ...]."""
        parts, rows = np.divmod(numbers, self.description.part)
        first = self.tensors[0][name]
        out = torch.empty((len(numbers), *first.shape[1:]), dtype=first.dtype)
        for part in np.unique(parts):
            here = torch.from_numpy(np.nonzero(parts == part)[0])
            out[here] = self.tensors[part][name][torch.from_numpy(rows[parts == part])]
        return out

    def texts(self, numbers: np.ndarray) -> Tensor:
        """The encoded captions of these examples; a part stores each different caption once."""
        parts, rows = np.divmod(numbers, self.description.part)
        first = self.tensors[0]["text"]
        out = torch.empty((len(numbers), *first.shape[1:]), dtype=first.dtype)
        for part in np.unique(parts):
            here, tensors = torch.from_numpy(np.nonzero(parts == part)[0]), self.tensors[part]
            out[here] = tensors["text"][tensors["text_of"][torch.from_numpy(rows[parts == part])].long()]
        return out

    def captions(self) -> Sequence[str]:
        """The captions of all examples; empty if there are none."""
        if self.description.captions is None:
            return ()
        numbers = range(self.description.parts)
        return [text for part in numbers for text in storage.read_text(place(self.folder, part), CAPTIONS)]


def _each_has(rows: Tensor, table: Tensor | None) -> bool:
    return table is not None and bool((rows >= 0).all()) and bool((rows < len(table)).all())
