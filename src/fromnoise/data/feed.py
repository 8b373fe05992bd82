"""The batches of a run, numbered: batch k is the same whoever asks for it, and whenever."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fromnoise import rng
from fromnoise.data.images import Images, to_unit


class Feed:
    """Training batches. Step k takes positions (k - 1) B .. k B - 1 of an endless row of shuffled epochs.

    Args:
        images: the data.
        seed: of the order.
        batch_size: B, over all processes.
        part: which places of the global batch this process sees.
        flip: mirror half of the examples.
        workers: loader processes, for images that are not in memory.
    """

    def __init__(self, images: Images, seed: int, batch_size: int, part: range, flip: bool, workers: int):
        self.images, self.seed, self.batch_size, self.part = images, seed, batch_size, part
        self.flip, self.workers = flip, workers
        self._epoch: tuple[int, np.ndarray] | None = None

    def indices(self, step: int) -> list[int]:
        """Which images step `step` (from 1) shows this process, in order."""
        n = len(self.images)
        chosen = []
        for place in self.part:
            position = (step - 1) * self.batch_size + place
            epoch, offset = divmod(position, n)
            if self._epoch is None or self._epoch[0] != epoch:
                self._epoch = (epoch, rng.permutation(self.seed, epoch, n))
            chosen.append(int(self._epoch[1][offset]))
        return chosen

    def from_step(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(x_0 in [-1, 1], labels) for steps first, first + 1, ... without end."""
        source = self._in_memory(first) if self.images.in_memory else self._streamed(first)
        for step, (pixels, labels) in enumerate(source, start=first):
            x0 = to_unit(pixels) if pixels.dtype == torch.uint8 else pixels  # latents are ready
            if self.flip:
                coin = rng.uniform(self.seed, self.part, step, rng.Stream.TRAIN_FLIP) < 0.5
                x0 = torch.where(coin.view(-1, 1, 1, 1), x0.flip(-1), x0)
            yield x0, labels

    def _in_memory(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        step = first
        while True:
            yield self.images.batch(self.indices(step))
            step += 1

    def _streamed(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        loader = DataLoader(
            self.images,  # pyrefly: ignore[bad-argument-type]
            batch_sampler=_Order(self, first),  # pyrefly: ignore[bad-argument-type]
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=4 if self.workers else None,
        )
        yield from loader


class _Order:
    """Index lists for a DataLoader, without end."""

    def __init__(self, feed: Feed, first: int):
        self.feed, self.first = feed, first

    def __iter__(self) -> Iterator[Sequence[int]]:
        step = self.first
        while True:
            yield self.feed.indices(step)
            step += 1
