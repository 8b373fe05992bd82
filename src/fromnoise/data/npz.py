"""Images in a .npz file, as published reference code and `fromnoise sample` write them."""

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
import torch

from fromnoise.data.images import InMemory
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files
from fromnoise.system.hardware.memory import half_of_memory

_PART = 2**24


def load_npz(path: Path) -> InMemory:
    """Load the array arr_0, or else the first one: uint8 [N, H, W, C] with 1 or 3 channels, or [N, H, W].

    Raises:
        FromNoiseError: the file does not exist, is not a .npz, or holds no such array; or the array is damaged or too
            large for this machine's memory.
    """
    with files.opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                member = _member(archive, path)
                with archive.open(member) as stream:
                    array = _array(stream, member, path)
        except FromNoiseError:
            raise
        except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds
            raise FromNoiseError(f"{path}: not a .npz of plain arrays ({files.one_line(error)})") from None
    return InMemory(path.name, torch.from_numpy(array).permute(0, 3, 1, 2).contiguous())


def _member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    arrays = [member for member in archive.infolist() if member.filename.endswith(".npy")]
    if not arrays:
        raise FromNoiseError(f"{path}: holds no array")
    member = next((member for member in arrays if member.filename == "arr_0.npy"), arrays[0])
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FromNoiseError(f"{path}: compressed with a method that numpy does not use; write it with numpy.savez")
    return member


def _array(stream: IO[bytes], member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """The array [N, H, W, C]; nothing is unpacked before its header has been checked."""
    name = files.one_line(member.filename.removesuffix(".npy"))
    if np.lib.format.read_magic(stream) != (1, 0):  # the others are for headers of megabytes, of records
        raise FromNoiseError(f"{path}: {name} is not an array of images: those are uint8 [N, H, W, C]")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype != np.uint8 or len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)):
        given = files.one_line(f"{dtype} {list(shape)}")
        raise FromNoiseError(f"{path}: {name} is {given}, but images are uint8 [N, H, W, C]")
    if min(shape) < 1:
        raise FromNoiseError(f"{path}: {name} holds no image, its shape is {list(shape)}")
    size, there = math.prod(shape), member.file_size - stream.tell()
    if size != there:
        raise FromNoiseError(f"{path}: damaged: {name} should have {size:,} bytes, but has {there:,}")
    room = half_of_memory()  # the other half is for the channels-first copy
    if size > room:
        raise FromNoiseError(f"{path}: {name} unpacks to {size:,} bytes, more than half of this machine's memory "
                             f"({room:,}): give fewer images, or a folder of them, which is streamed")  # fmt: skip
    flat = _unpacked(stream, size)
    array = flat.reshape(shape[::-1]).T if by_columns else flat.reshape(shape)
    return array[..., None] if array.ndim == 3 else array


def _unpacked(stream: IO[bytes], size: int) -> np.ndarray:
    """The next `size` bytes; zipfile compares their checksum when the last one is read."""
    flat = np.empty(size, np.uint8)
    done = 0
    while done < size:
        part = stream.read(min(_PART, size - done))
        if not part:
            raise EOFError(f"it ends after {done:,} of {size:,} bytes")
        flat[done : done + len(part)] = np.frombuffer(part, np.uint8)
        done += len(part)
    return flat
