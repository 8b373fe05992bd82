"""The numbered batches of a run: batch k is always the same, in every process and after every restart."""

import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from fromnoise.data.examples import Batches, Conditions, Examples
from fromnoise.data.images import to_unit
from fromnoise.errors import FromNoiseError, TrainingError
from fromnoise.system import rng
from fromnoise.system.disk import files

_Warning = tuple[str, type[Warning]]

_GRACE = 30
"""Seconds for which a loader process goes on after SIGTERM, to deliver the batch that the current step waits for."""


class Feed:
    """Training batches by step.

    Step k takes positions (k - 1) B .. k B - 1 of an endless sequence of shuffled epochs, or the examples that the
    source's own order determines.

    Args:
        source: the data.
        seed: seed of the order.
        batch_size: B, over all processes.
        part: the positions of the global batch that this process reads.
        flip: whether to mirror half of the examples, at random, along their last axis.
        workers: number of loader processes, for examples that are not in memory.
    """

    def __init__(
        self, source: Examples | Batches, seed: int, batch_size: int, part: range, flip: bool = False, workers: int = 0
    ):
        self.source, self.seed, self.batch_size, self.part = source, seed, batch_size, part
        self.flip, self.workers = flip, workers
        self._epoch: tuple[int, np.ndarray] | None = None
        self.order = source.order(seed, batch_size) if isinstance(source, Examples) else None
        self._warned: set[str] = set()

    def indices(self, step: int) -> list[int]:
        """The numbers of the examples that this process reads in step `step` (from 1), in order."""
        assert isinstance(self.source, Examples)
        if self.order is not None:
            return list(self.order.numbers(step, self.part))
        n = len(self.source)
        chosen = []
        for place in self.part:
            position = (step - 1) * self.batch_size + place
            epoch, offset = divmod(position, n)
            if self._epoch is None or self._epoch[0] != epoch:
                self._epoch = (epoch, rng.permutation(self.seed, epoch, n))
            chosen.append(int(self._epoch[1][offset]))
        return chosen

    def from_step(self, first: int) -> Iterator[tuple[Tensor, Conditions]]:
        """(x, uint8 or float32 in the network's range; conditions) for steps first, first + 1, ... without end.

        Warnings of loader processes are repeated in the calling process, each text once.
        """
        if isinstance(self.source, Batches):
            yield from self._whole(self.source)
        elif self.source.in_memory:
            for step in count(first):
                yield self.source.examples(self.indices(step))
        else:
            yield from self._loaded(self.source, first)

    def mirrored(self, step: int) -> Tensor | None:
        """Which examples of a step are mirrored, bool [B]; None without `flip`."""
        return rng.uniform(self.seed, self.part, step, rng.Stream.TRAIN_FLIP) < 0.5 if self.flip else None

    def _whole(self, source: Batches) -> Iterator[tuple[Tensor, Conditions]]:
        """The full batches of the source, repeated without end; the last one of an epoch is often smaller.

        Every process reads the same batches and takes its part of each.
        """
        own = slice(self.part.start, self.part.stop)
        while True:
            full, size = False, 0
            for x, conditions in source:
                full, size = full or len(x) == self.batch_size, max(size, len(x))
                if len(x) == self.batch_size:
                    yield x[own], {name: value[own] for name, value in conditions.items()}
            if not full:
                raise FromNoiseError(f"data gives batches of {size}, but batch_size is {self.batch_size}: make them "
                                     "equal")  # fmt: skip

    def _loaded(self, source: Examples, first: int) -> Iterator[tuple[Tensor, Conditions]]:
        note = self.order.note(self.batch_size // len(self.part)) if self.order is not None else None
        if note is not None and self.part.start == 0:
            warnings.warn(note, stacklevel=3)
        loader = DataLoader(
            _Rows(source),  # pyrefly: ignore[bad-argument-type]
            sampler=_Order(self, first),  # pyrefly: ignore[bad-argument-type]
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            worker_init_fn=_outlasting_signals if self.workers else None,
        )
        for batch, said in _survived(_without_handler(loader), self.workers > 0):
            for text, category in said:
                if text not in self._warned:
                    self._warned.add(text)
                    warnings.warn(text, category, stacklevel=2)
            if isinstance(batch, FromNoiseError):
                raise batch
            yield batch


def is_grumble(source: str) -> bool:
    """Whether a warning from this source file is one of an image decoder, about an image that it could still read."""
    return not {"PIL", "pillow_heif"}.isdisjoint(Path(source).parts)


def as_state(x: Tensor, mirrored: Tensor | None) -> Tensor:
    """x as float32 in the network's range, with some examples mirrored: uint8 0..255 becomes [-1, 1]."""
    x = to_unit(x) if x.dtype == torch.uint8 else x
    return x if mirrored is None else mirror(x, mirrored)


def mirror(x: Tensor, mirrored: Tensor) -> Tensor:
    """x with the examples mirrored, along their last axis, for which `mirrored` [B] is True."""
    return torch.where(mirrored.view(-1, *[1] * (x.dim() - 1)), x.flip(-1), x)


def mirror_beside(conditions: Conditions, x: Tensor, mirrored: Tensor) -> Conditions:
    """Mirror the conditions that have the same sides as the states x, such as conditioning images; never a text."""
    side = x.shape[2:]
    alike = {name for name, value in conditions.items()
             if name != "text" and value.dim() == x.dim() > 2 and value.shape[2:] == side}  # fmt: skip
    return {name: mirror(value, mirrored) if name in alike else value for name, value in conditions.items()}


def _without_handler(loader: DataLoader) -> Iterator[Any]:
    """Start the loader, and restore the signal handler that torch replaces.

    With torch's handler, the death of a loader process raises an exception at an arbitrary point of the program. The
    loader itself also notices it, within five seconds, when a batch is requested.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    if before is not None:
        signal.signal(signal.SIGCHLD, before)
    return batches


def _outlasting_signals(worker: int) -> None:
    """Make a loader process ignore Ctrl-C and outlast the first SIGTERM; a second one ends it.

    Cluster managers send signals to every process of a job, but training ends by itself after its current step, for
    which it may need one more batch.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, _asked_to_end)


def _asked_to_end(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(_GRACE)


def _survived(batches: Iterator[Any], by_others: bool) -> Iterator[Any]:
    """The same batches, with a clear error for the death of a loader process.

    Args:
        batches: the batches.
        by_others: whether loader processes make them.

    Raises:
        TrainingError: a loader process died; the loader noticed it, or the transfer of a batch failed.
    """
    try:
        yield from batches
    except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:
        text = files.one_line(error)
        handing = by_others and not isinstance(error, RuntimeError) and "DataLoader worker" not in text
        if not (handing or text.startswith("DataLoader worker")):
            raise  # an error of the data set itself
        raise TrainingError(f"a loader process was killed, perhaps because memory ran out ({text}); lower "
                            "the number of them (data.workers=0 for none), then resume") from None  # fmt: skip


class _Rows:
    """A data set for DataLoader: a list of numbers -> (a batch, the warnings of the loader process).

    A FromNoiseError is returned instead of a batch, because DataLoader would add the loader process's traceback to it.
    """

    def __init__(self, source: Examples):
        self.source = source

    def __getitem__(self, indices: Sequence[int]) -> tuple[tuple[Tensor, Conditions] | FromNoiseError, list[_Warning]]:
        if get_worker_info() is None:  # in the calling process, warnings need no forwarding
            return self._batch(indices), []
        with warnings.catch_warnings(record=True) as said:
            batch = self._batch(indices)
        return batch, [_passed(one) for one in said if not is_grumble(one.filename)]

    def _batch(self, indices: Sequence[int]) -> tuple[Tensor, Conditions] | FromNoiseError:
        try:
            return self.source.examples(indices)
        except FromNoiseError as error:
            return error


def _passed(said: warnings.WarningMessage) -> _Warning:
    """A warning to forward; classes that are not built in may be unknown in the other process."""
    return str(said.message), said.category if said.category.__module__ == "builtins" else UserWarning


class _Order:
    """An endless sampler for a DataLoader: lists of numbers, one for each step."""

    def __init__(self, feed: Feed, first: int):
        self.feed, self.first = feed, first

    def __iter__(self) -> Iterator[Any]:
        for step in count(self.first):
            if self.feed.order is not None:
                self.feed.order.ahead(step, self.feed.part)
            yield self.feed.indices(step)
