"""Data sets that torchvision knows by name: found under the root, else downloaded there."""

import math
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fromnoise.data.images import InMemory
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

DEFAULT_ROOT = Path("~/.cache/fromnoise")

_IDX_LIMIT = 2**28


class TorchvisionSet:
    """A torchvision data set with a training and a test split; subclasses name it."""

    kind: str
    folder: str
    """Under the root: where its files are."""

    def load(self, root: Path | None, split: str = "train") -> InMemory:
        """uint8 [N, C, H, W] with labels, of the split "train" or "test".

        Raises:
            FromNoiseError: torchvision is missing; the files are neither there nor can be downloaded, or are damaged.
        """
        try:
            from torchvision import datasets
        except ImportError as error:
            raise FromNoiseError(f'{self.kind} needs torchvision ({error}): pip install "fromnoise[vision]"') from None
        where = files.expanded(root or DEFAULT_ROOT)
        pixels, labels, classes = self.read(getattr(datasets, self.kind), where, split == "train")
        name = self.kind.lower() if split == "train" else f"{self.kind.lower()}, {split} split"
        return InMemory(name, torch.from_numpy(pixels), torch.from_numpy(labels), classes)

    def read(self, make: Any, where: Path, train: bool) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Pixels [N, C, H, W], labels [N] and the classes' names; torchvision unpickles what has the right MD5."""
        try:
            found = make(str(where), train=train, download=False)
        except (RuntimeError, OSError):
            found = self.download(make, where, train)
        pixels = np.asarray(found.data).transpose(0, 3, 1, 2).copy()
        return pixels, np.asarray(found.targets, np.int64), list(found.classes)

    def download(self, make: Any, where: Path, train: bool) -> Any:
        """What torchvision makes of the set after it has fetched what is not there, or not whole."""
        for path in (*_below(where / self.folder), *where.glob("*.gz")):
            if not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISDIR(mode):
                raise FromNoiseError(
                    f"{path}: is {files.kind_of(mode)}, and a download would write through it: remove it"
                )
        try:
            return make(str(where), train=train, download=True)
        except Exception as error:  # of the network, of archives, of the disk
            why = files.one_line(error)
            raise FromNoiseError(f"{self.kind} is not under {where}, or not whole, and could not be downloaded "
                                 f"({why}); name the folder that holds it, data.root") from None  # fmt: skip


class IdxSet(TorchvisionSet):
    """MNIST and those like it: torchvision downloads them, and their plain files are read here.

    torchvision itself would rather unpickle what its versions of before 2021 left in a folder `processed`.
    """

    def read(self, make: Any, where: Path, train: bool) -> tuple[np.ndarray, np.ndarray, list[str]]:
        start = where / self.folder / "raw" / ("train" if train else "t10k")
        images, labels = Path(f"{start}-images-idx3-ubyte"), Path(f"{start}-labels-idx1-ubyte")
        if not (os.path.lexists(images) and os.path.lexists(labels)):
            old = where / self.folder / "processed"
            if os.path.lexists(old):
                raise FromNoiseError(f"{old}: pickles of an old torchvision, which are not read: remove it, and "
                                     "the set is downloaded anew")  # fmt: skip
            self.download(make, where, train)
        pixels, numbers = _idx(images, 3), _idx(labels, 1)
        if len(pixels) != len(numbers) or not pixels.size:
            raise FromNoiseError(f"{images}: {len(pixels)} images, and {labels.name} has {len(numbers)} labels: "
                                 "remove both, and they are downloaded anew")  # fmt: skip
        return pixels[:, None], numbers.astype(np.int64), list(make.classes)


def _idx(path: Path, axes: int) -> np.ndarray:
    """uint8 with so many axes, of a file in the format of MNIST.

    Raises:
        FromNoiseError: it is not there, or another file, or not whole.
    """
    content = files.read_bytes(path, _IDX_LIMIT)
    start = 4 + 4 * axes
    shape = struct.unpack(f">{axes}I", content[4:start]) if len(content) >= start else ()
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) - start != math.prod(shape):
        raise FromNoiseError(f"{path}: not whole, or no file of {axes} axes in the format of MNIST: remove it, and it "
                             "is downloaded anew")  # fmt: skip
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _below(folder: Path) -> Iterator[Path]:
    """All that is in a folder; the folder itself may be a link."""
    for parent, below, names in os.walk(folder):
        yield from (Path(parent, name) for name in (*below, *names))
