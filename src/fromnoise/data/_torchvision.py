"""Data sets of torchvision: read from the root folder, and downloaded there if missing."""

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
    """A torchvision data set with a training and a test split; subclasses set `kind` and `folder`."""

    kind: str
    folder: str
    """The subfolder of the root that holds the files."""

    def load(self, root: Path | None, split: str = "train") -> InMemory:
        """Load a split as uint8 images [N, C, H, W] with labels.

        Args:
            root: folder to read from and to download to; default: ~/.cache/fromnoise.
            split: "train" or "test".

        Raises:
            FromNoiseError: torchvision is not installed, the files are damaged, or they are missing and cannot be
                downloaded.
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
        """(pixels [N, C, H, W], labels [N], class names); torchvision unpickles only files with the right MD5."""
        try:
            found = make(str(where), train=train, download=False)
        except (RuntimeError, OSError):
            found = self.download(make, where, train)
        pixels = np.asarray(found.data).transpose(0, 3, 1, 2).copy()
        return pixels, np.asarray(found.targets, np.int64), list(found.classes)

    def download(self, make: Any, where: Path, train: bool) -> Any:
        """The torchvision data set, after missing or incomplete files have been downloaded."""
        for path in (*_below(where / self.folder), *where.glob("*.gz")):
            if not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISDIR(mode):
                raise FromNoiseError(
                    f"{path}: is {files.kind_of(mode)}, and a download would write through it: remove it"
                )
        try:
            return make(str(where), train=train, download=True)
        except Exception as error:  # from the network, archives or the disk
            why = files.one_line(error)
            raise FromNoiseError(f"{self.kind} is missing or incomplete in {where}, and could not be downloaded "
                                 f"({why}); set data.root to the folder that holds it") from None  # fmt: skip


class IdxSet(TorchvisionSet):
    """MNIST and data sets in its format: downloaded by torchvision, but read by fromnoise.

    torchvision itself would prefer to unpickle the files that versions before 2021 left in a folder `processed`.
    """

    def read(self, make: Any, where: Path, train: bool) -> tuple[np.ndarray, np.ndarray, list[str]]:
        start = where / self.folder / "raw" / ("train" if train else "t10k")
        images, labels = Path(f"{start}-images-idx3-ubyte"), Path(f"{start}-labels-idx1-ubyte")
        if not (os.path.lexists(images) and os.path.lexists(labels)):
            old = where / self.folder / "processed"
            if os.path.lexists(old):
                raise FromNoiseError(f"{old}: pickles of an old torchvision, which are not read: remove it, and "
                                     "the set is downloaded again")  # fmt: skip
            self.download(make, where, train)
        pixels, numbers = _idx(images, 3), _idx(labels, 1)
        if len(pixels) != len(numbers) or not pixels.size:
            raise FromNoiseError(f"{images}: {len(pixels)} images, but {labels.name} has {len(numbers)} labels: "
                                 "remove both, and they are downloaded again")  # fmt: skip
        return pixels[:, None], numbers.astype(np.int64), list(make.classes)


def _idx(path: Path, axes: int) -> np.ndarray:
    """The uint8 array with the given number of axes in a file in the format of MNIST.

    Raises:
        FromNoiseError: the file is missing, incomplete, or in another format.
    """
    content = files.read_bytes(path, _IDX_LIMIT)
    start = 4 + 4 * axes
    shape = struct.unpack(f">{axes}I", content[4:start]) if len(content) >= start else ()
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) - start != math.prod(shape):
        raise FromNoiseError(f"{path}: incomplete, or not a file of {axes} axes in the format of MNIST: remove it, and "
                             "it is downloaded again")  # fmt: skip
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _below(folder: Path) -> Iterator[Path]:
    """Every entry below a folder; the folder itself may be a link."""
    for parent, below, names in os.walk(folder):
        yield from (Path(parent, name) for name in (*below, *names))
