"""Images in one .npy file, which is mapped into memory: any number of channels, integer or floating point."""

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
"""Most channels: an axis of at most this length is the axis of the channels."""


class Array(Images):
    """Images in an array [N, H, W], [N, H, W, C] or [N, C, H, W]; the shorter of the axes 1 and 3 is the channels.

    uint8 stays uint8. uint16 is mapped from 0..65535 to [-1, 1]. Floating point keeps its precision: `batch` returns
    float32 in [-1, 1], with one scale for the whole array; see `fitting.Floats`.

    Args:
        path: path of the file; pickled objects are refused.

    Raises:
        FromNoiseError: the file does not exist, is not an array of images, or holds values that are not finite.
    """

    in_memory = True  # pages of the file are read on demand, without decoding

    def __init__(self, path: Path):
        files.opened(path).close()  # raises unless it is a regular file
        try:
            array = np.load(path, mmap_mode="r")  # pickles are refused
        except Exception as error:  # numpy raises a dozen kinds
            raise FromNoiseError(f"{path}: not a .npy of a plain array ({files.one_line(error)})") from None
        if not isinstance(array, np.ndarray) or array.ndim not in (3, 4) or array.dtype.kind not in "uf":
            given = f"{getattr(array, 'dtype', '?')} {list(getattr(array, 'shape', ()))}"
            raise FromNoiseError(f"{path}: holds {given}, but images are [N, H, W], [N, H, W, C] or [N, C, H, W] of "
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
        """(images [B, C, H, W], uint8 or float32 in [-1, 1]; labels [B], all -1)."""
        found = np.ascontiguousarray(self.array[np.asarray(indices)])
        labels = torch.full((len(found),), -1)
        if found.dtype == np.uint8:
            return torch.from_numpy(found), labels
        black, white = self._ends
        scaled = (found.astype(np.float64) - black) * (2 / max(white - black, 1e-300)) - 1
        return torch.from_numpy(scaled.astype(np.float32)), labels

    def _seen(self, path: Path) -> tuple[float, float]:
        """(black, white) of a floating point array, which is read in parts."""
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
        raise FromNoiseError(f"{path}: of shape {list(array.shape)}, but axis 1 or 3 must be at most {_FEW} channels")
    if last <= first:
        return array.transpose(0, 3, 1, 2), "N, H, W, C"
    return array, "N, C, H, W"
