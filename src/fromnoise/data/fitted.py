"""Bring the images of a data set to other channels and another size."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fromnoise.data.config import DataConfig
from fromnoise.data.fitting import laid_on, to_array, to_size
from fromnoise.data.images import Images, InMemory
from fromnoise.errors import FromNoiseError


def fitted(images: Images, config: DataConfig) -> Images:
    """The images at the channels and the size of the configuration.

    A data set in memory is converted at once, any other one when its batches are read.

    Raises:
        FromNoiseError: the images cannot be brought to so many channels.
    """
    if config.channels not in (None, 1, 3, 4, images.shape[0]):
        raise FromNoiseError(f"{images.name}: images of {images.shape[0]} channels, but data.channels is "
                             f"{config.channels}: it must be 1, 3 or 4")  # fmt: skip
    if isinstance(images, InMemory):
        pixels = _at(images.pixels, config).contiguous()
        return InMemory(images.name, pixels, images.labels, images.classes, images.notes, images.captions)
    return _Fitted(images, config)


class _Fitted(Images):
    """Images that are brought to other channels and another size when they are read."""

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
    """uint8 images [N, C, H, W] at the channels and the size of the configuration."""
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
        for i, image in enumerate(pixels.permute(0, 2, 3, 1).numpy()):  # not by channel: opacity weights colours
            whole = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
            out[i] = to_array(to_size(whole, config.hw, config.fit))
        pixels = torch.from_numpy(out)
    return pixels
