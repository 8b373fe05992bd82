"""Load images from a folder, archives, an array, or a table from the Hugging Face hub."""

import os
from pathlib import Path

import numpy as np

from fromnoise import data
from fromnoise.data import archives, huggingface
from fromnoise.data._remote import is_url
from fromnoise.data._scan import Found, scan
from fromnoise.data.arrays import Array
from fromnoise.data.config import DataConfig
from fromnoise.data.encoded import load_encoded
from fromnoise.data.fitted import fitted
from fromnoise.data.folder import Files, load_folder
from fromnoise.data.images import Images, Progress
from fromnoise.data.npz import load_npz
from fromnoise.data.streamed import load_stream
from fromnoise.errors import FromNoiseError, nearest
from fromnoise.system.disk import files

_WHAT = "a folder of images, .tar or .zip archives, a .npy, .npz or .parquet file, or hf://owner/name"


def load_own(config: DataConfig, progress: Progress | None = None) -> Images:
    """Load the images at the path or address `config.name`; see `loading.load`."""
    name, path = config.name, files.expanded(config.name)
    if config.stream or (is_url(name) and not name.startswith(huggingface.HUB)):
        _insist_on_train(name, config)
        return load_stream(config, progress)
    if name.startswith(huggingface.HUB):
        return _table(config, progress)
    if os.path.isdir(path):  # never raises, whatever the name is
        return _folder(path, config, progress)
    _insist_on_train(name, config)
    if paths := archives.named(name):
        return load_encoded(archives.Archives(paths, files.one_line(path.name), progress), config, progress)
    if huggingface.is_one(name):
        return _table(config, progress)
    if os.path.isfile(path) and path.suffix.lower() == ".npy":
        return _array(path, config)
    if os.path.isfile(path) and path.suffix.lower() == ".npz":
        return fitted(load_npz(path), config)
    if os.path.lexists(path):
        what = "a file" if os.path.isfile(path) else files.kind_of(os.lstat(path).st_mode)
        raise FromNoiseError(f"{path} is {what}; data.name is {_WHAT}, or one of {', '.join(data.names())}")
    hint = nearest(name, data.names())
    raise FromNoiseError(f"data.name {files.one_line(name)}: no such folder, and no such data set{hint}; "
                         f"choose from {', '.join(data.names())}, or name {_WHAT}")  # fmt: skip


def _folder(path: Path, config: DataConfig, progress: Progress | None) -> Images:
    """Load a folder: its images if there are any, otherwise a saved table, parquet files or archives in it."""
    found = scan(path)
    if found.paths:
        _insist_on_train(config.name, config)
        return load_folder(config, progress, found) if config.pairs is None else _pairs(config, progress, found)
    if huggingface.is_one(config.name):
        return _table(config, progress)
    _insist_on_train(config.name, config)
    packed = sorted(one for one in path.iterdir() if one.suffix.lower() in archives.ENDINGS and one.is_file())
    if packed:
        return load_encoded(archives.Archives(packed, path.name, progress), config, progress)
    return load_folder(config, progress, found)


def _pairs(config: DataConfig, progress: Progress | None, found: Found) -> Images:
    """Load the folder `config.name` with the folder `config.pairs`; files of a pair differ at most in their ending.

    Raises:
        FromNoiseError: an image has no partner, an option does not work with pairs, or `load_encoded` raises it.
    """
    if config.reduce > 1 or config.keep_depth:
        raise FromNoiseError("data.pairs: pairs must be 8-bit images at their full size: leave data.reduce and "
                             "data.keep_depth out")  # fmt: skip
    root, other = files.expanded(config.name), files.expanded(config.pairs or "")
    partners: dict[Path, Path] = {}
    for path in scan(other).paths:
        partners.setdefault(path.relative_to(other).with_suffix(""), path)
    names = [path.relative_to(root).with_suffix("") for path in found.paths]
    missing = [name for name in names if name not in partners]
    if missing:
        raise FromNoiseError(f"data.pairs: {len(missing)} of {len(names)} images have no image of the same name in "
                             f"{other}; the first is {files.one_line(missing[0])}")  # fmt: skip
    own, beside = Files(root, found), Files(other, Found([partners[name] for name in names]))
    if len(own) != len(names) or len(beside) != len(names):
        raise FromNoiseError("data.pairs: pages of a TIFF with several pages cannot be paired: split it")
    return load_encoded(own, config, progress, beside)


def _table(config: DataConfig, progress: Progress | None) -> Images:
    return load_encoded(huggingface.load_rows(config.name, config.split, config.columns), config, progress)


def _array(path: Path, config: DataConfig) -> Images:
    """Load an array; only 8-bit gray or colour images can be brought to another size or other channels."""
    images = Array(path)
    if images.array.dtype == np.uint8 and images.shape[0] in (1, 3, 4):
        return fitted(images, config)
    c, h, w = images.shape
    if config.hw not in (None, (h, w)) or config.channels not in (None, c):
        raise FromNoiseError(f"{path}: {images.array.dtype} images of {c}x{h}x{w} cannot be resized or converted: "
                             "leave data.size and data.channels out (null)")  # fmt: skip
    return images


def _insist_on_train(name: str, config: DataConfig) -> None:
    if config.split != "train":
        raise FromNoiseError(f"{files.one_line(name)} has no test split: name the folder or the files of the test "
                             "images")  # fmt: skip
