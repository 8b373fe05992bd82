"""Images in a .npz file, as the field's reference code and `fromnoise sample` write them."""

import zipfile
from pathlib import Path

import numpy as np
import torch

from fromnoise.data.images import InMemory
from fromnoise.errors import FromNoiseError


def load_npz(path: Path) -> InMemory:
    """The array arr_0, or else the first: uint8 [N, H, W, C] with 1 or 3 channels, or [N, H, W].

    Raises:
        FromNoiseError: the file is not there, not a .npz, or holds no such array.
    """
    try:
        with np.load(path) as file:
            name = "arr_0" if "arr_0" in file.files else next(iter(file.files), None)
            if name is None:
                raise FromNoiseError(f"{path}: holds no array")
            array = file[name]
    except FileNotFoundError:
        raise FromNoiseError(f"{path}: no such file") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise FromNoiseError(f"{path}: not a .npz of plain arrays ({str(error).splitlines()[0]})") from None
    if array.ndim == 3:
        array = array[..., None]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] not in (1, 3):
        raise FromNoiseError(f"{path}: {name} is {array.dtype} {list(array.shape)}, and images are uint8 [N, H, W, C]")
    return InMemory(path.name, torch.from_numpy(array).permute(0, 3, 1, 2).contiguous())
