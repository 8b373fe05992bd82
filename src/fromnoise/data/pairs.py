"""Pairs of images: each image to learn with a conditioning image, such as a sketch, a map or a gray copy."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from fromnoise.data.examples import Conditions
from fromnoise.data.images import Images, to_unit
from fromnoise.system import rng

_FEW = 1024


class Channels(Images):
    """The channels first to last - 1 of a data set's images."""

    def __init__(self, whole: Images, first: int, last: int):
        self.whole, self.first, self.last = whole, first, last
        self.name, self.classes, self.notes, self.in_memory = whole.name, whole.classes, whole.notes, whole.in_memory
        self.captions = whole.captions
        self.follow(whole)
        self.shape = (last - first, *whole.shape[1:])

    def __len__(self) -> int:
        return len(self.whole)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        pixels, labels = self.whole.batch(indices)
        return pixels[:, self.first : self.last], labels


class Shuffled(Images):
    """Images in a fixed random order, so that the first few of a set that is sorted by class are of every class."""

    def __init__(self, whole: Images):
        self.whole = whole
        streamed = whole.order(0, 1) is not None  # then take only a few: others may need further shards
        self.places = np.asarray(whole.few(_FEW)) if streamed else rng.permutation(0, 0, len(whole))
        self.name, self.classes, self.notes, self.in_memory = whole.name, whole.classes, whole.notes, whole.in_memory
        self.captions = [whole.captions[i] for i in self.places] if whole.captions else ()
        self.shape = whole.shape

    def __len__(self) -> int:
        return len(self.places)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.whole.batch([int(self.places[i]) for i in indices])


class Pairs(Channels):
    """Images with the condition "image", float32 [B, C', H, W] in [-1, 1], and their labels if there are any.

    Args:
        whole: images with the channels of both: first those to learn, then those of the condition.
        channels: number of channels of the images to learn.
    """

    def __init__(self, whole: Images, channels: int):
        super().__init__(whole, 0, channels)
        self.beside = Channels(whole, channels, whole.shape[0])

    def examples(self, indices: Sequence[int]) -> tuple[Tensor, Conditions]:
        pixels, labels = self.whole.batch(indices)
        told: Conditions = {"image": to_unit(pixels[:, self.last :])}
        return pixels[:, : self.last], told | ({"label": labels} if len(self.classes) else {})
