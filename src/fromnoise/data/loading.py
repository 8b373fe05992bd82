"""From a configuration to images."""

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fromnoise import data
from fromnoise.data._reduce import reduced
from fromnoise.data.config import DataConfig
from fromnoise.data.fitting import laid_on, to_array, to_size
from fromnoise.data.folder import load_folder
from fromnoise.data.images import Images, InMemory
from fromnoise.disk import files
from fromnoise.errors import FromNoiseError, nearest

Progress = Callable[[str, int], Callable[[], None]]


def load(config: DataConfig, progress: Progress | None = None) -> Images:
    """The images that `config` names: a registered data set, or else a folder.

    Args:
        config: name, root, size, channels, fit.
        progress: progress("what", total) returns a function that is called once for every item.

    Raises:
        FromNoiseError: neither a data set nor a folder, or what the source raises.
    """
    if config.name.replace("_", "-") in data.names():
        return reduced(_fitted(data.get(config.name)().load(config.root, config.split), config), config.reduce)
    folder = files.expanded(config.name)
    if os.path.isdir(folder):  # never raises, whatever the name is
        if config.split != "train":
            raise FromNoiseError(f"{folder} is a folder, which has no test split: name the folder of the test images")
        return reduced(load_folder(config, progress), config.reduce)
    if os.path.lexists(folder):
        what = "a file" if os.path.isfile(folder) else files.kind_of(os.lstat(folder).st_mode)
        raise FromNoiseError(f"{folder} is {what}; data.name is a folder of images or one of {', '.join(data.names())}")
    hint = nearest(config.name, data.names())
    raise FromNoiseError(f"data.name {files.one_line(config.name)}: no such folder, and no such data set{hint}; "
                         f"choose from {', '.join(data.names())}, or name a folder of images")  # fmt: skip


def _fitted(images: Images, config: DataConfig) -> Images:
    """A named set at the wanted channels and size: at once where it is in memory, else when a batch is asked for."""
    if isinstance(images, InMemory):
        pixels = _at(images.pixels, config).contiguous()
        return InMemory(images.name, pixels, images.labels, images.classes, images.notes, images.captions)
    return _Fitted(images, config)


class _Fitted(Images):
    """Brought to channels and size when they are asked for."""

    def __init__(self, images: Images, config: DataConfig):
        self.images, self.config = images, config
        self.name, self.classes, self.notes, self.in_memory = images.name, images.classes, images.notes, False
        self.captions = images.captions
        c, h, w = images.shape
        self.shape = (config.channels or min(c, 3), *(config.hw or (h, w)))

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        pixels, labels = self.images.batch(indices)
        return _at(pixels, self.config), labels


def _at(pixels: Tensor, config: DataConfig) -> Tensor:
    """uint8 [N, C, H, W] at the wanted channels and size."""
    if config.channels != 4 and pixels.shape[1] == 4:
        pixels = laid_on(pixels, config.background)
    if config.channels in (3, 4) and pixels.shape[1] == 1:
        pixels = pixels.expand(-1, 3, -1, -1)
    elif config.channels == 1 and pixels.shape[1] == 3:
        weights = torch.tensor([0.299, 0.587, 0.114])  # Rec. 601, as Pillow's own conversion
        pixels = torch.einsum("nchw,c->nhw", pixels.float(), weights).round().to(torch.uint8)[:, None]
    if config.channels == 4 and pixels.shape[1] == 3:
        pixels = torch.cat([pixels, torch.full_like(pixels[:, :1], 255)], 1)
    if config.hw and tuple(pixels.shape[2:]) != config.hw:
        out = np.empty((*pixels.shape[:2], *config.hw), np.uint8)
        for i, image in enumerate(pixels.permute(0, 2, 3, 1).numpy()):  # whole: Pillow weighs colours by opacity
            whole = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
            out[i] = to_array(to_size(whole, config.hw, config.fit))
        pixels = torch.from_numpy(out)
    return pixels
