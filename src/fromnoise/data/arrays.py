"""Images in one .npy file, which is mapped into memory: any number of channels, and floating point as it is."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fromnoise.data.fitting import Floats
from fromnoise.data.images import Images
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

_PART = 2**24
_FEW = 16
"""Channels at most: the axis of so few is that of the channels."""


class Array(Images):
    """[N, H, W], [N, H, W, C] or [N, C, H, W]; the smaller of the two outer axes is the channels.

    uint8 is as images are. Of 16 bits, 0..65535 becomes [-1, 1], and floating point keeps its digits: `batch` gives
    float32 in [-1, 1], with one scale for the whole array, see `fitting.Floats`.

    Args:
        path: of the file; pickled objects are refused.

    Raises:
        FromNoiseError: no such file, no array of images, or values that are not finite.
    """

    in_memory = True  # a page of the file is read as it is asked for, without decoding

    def __init__(self, path: Path):
        files.opened(path).close()  # a regular file, or a line that says what it is
        try:
            array = np.load(path, mmap_mode="r")  # pickles are refused
        except Exception as error:  # numpy raises a dozen kinds
            raise FromNoiseError(f"{path}: no .npy of a plain array ({files.one_line(error)})") from None
        if not isinstance(array, np.ndarray) or array.ndim not in (3, 4) or array.dtype.kind not in "uf":
            given = f"{getattr(array, 'dtype', '?')} {list(getattr(array, 'shape', ()))}"
            raise FromNoiseError(f"{path}: holds {given}, and images are [N, H, W], [N, H, W, C] or [N, C, H, W] of "
                                 "uint8, uint16 or floating point")  # fmt: skip
        if min(array.shape) < 1:
            raise FromNoiseError(f"{path}: holds no image, its shape is {list(array.shape)}")
        self.array, order = _channels_first(array, path)
        self.name = path.name
        _, c, h, w = self.array.shape
        self.shape = (c, h, w)
        self.notes = [f"{path.name}: {len(array):,} {array.dtype} images of {c}x{h}x{w} ({order})"]
        self._ends = (0.0, 255.0)
        if array.dtype != np.uint8:
            self._ends = (0.0, float(np.iinfo(array.dtype).max)) if array.dtype.kind == "u" else self._seen(path)

    def __len__(self) -> int:
        return len(self.array)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """uint8, or float32 in [-1, 1], [B, C, H, W]; and no labels, -1."""
        found = np.ascontiguousarray(self.array[np.asarray(indices)])
        labels = torch.full((len(found),), -1)
        if found.dtype == np.uint8:
            return torch.from_numpy(found), labels
        black, white = self._ends
        scaled = (found.astype(np.float64) - black) * (2 / max(white - black, 1e-300)) - 1
        return torch.from_numpy(scaled.astype(np.float32)), labels

    def _seen(self, path: Path) -> tuple[float, float]:
        """Black and white of a floating point array, of which parts are read one after the other."""
        floats, step = Floats(), max(1, _PART // self.array[0].size)
        for start in range(0, len(self.array), step):
            try:
                floats.see_values(np.asarray(self.array[start : start + step], np.float64))
            except ValueError as error:
                raise FromNoiseError(f"{path}: images {start} to {min(start + step, len(self)) - 1}: {error}") from None
        self.notes = [*self.notes, *floats.notes()]
        return floats.ends


def _channels_first(array: np.ndarray, path: Path) -> tuple[np.ndarray, str]:
    if array.ndim == 3:
        return array[:, None], "N, H, W"
    _, first, _, last = array.shape
    if min(first, last) > _FEW:
        raise FromNoiseError(f"{path}: of shape {list(array.shape)}, where no axis is that of at most {_FEW} channels")
    if last <= first:
        return array.transpose(0, 3, 1, 2), "N, H, W, C"
    return array, "N, C, H, W"
