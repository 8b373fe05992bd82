"""The batches of a run, numbered: batch k is the same whoever asks for it, and whenever."""

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
"""Seconds that a loader process which is asked to end has for what the current step waits for."""


class Feed:
    """Training batches. Step k takes positions (k - 1) B .. k B - 1 of an endless row of shuffled epochs, or what the
    source's own order says.

    Args:
        source: the data.
        seed: of the order.
        batch_size: B, over all processes.
        part: which places of the global batch this process sees.
        flip: mirror half of the examples along their last axis.
        workers: loader processes, for examples that are not in memory.
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
        """Which examples step `step` (from 1) shows this process, in order."""
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
        """x (uint8, or float32 as the network sees it) and conditions for steps first, first + 1, ... without end.

        What loader processes warn of is warned of here, in the process of the caller, and once for all of them.
        """
        if isinstance(self.source, Batches):
            yield from self._whole(self.source)
        elif self.source.in_memory:
            for step in count(first):
                yield self.source.examples(self.indices(step))
        else:
            yield from self._loaded(self.source, first)

    def mirrored(self, step: int) -> Tensor | None:
        """Which examples of a step are mirrored, [B] of bool; None where none ever is."""
        return rng.uniform(self.seed, self.part, step, rng.Stream.TRAIN_FLIP) < 0.5 if self.flip else None

    def _whole(self, source: Batches) -> Iterator[tuple[Tensor, Conditions]]:
        """Whole batches only, over and over: the last of an epoch is often a rest. Every process reads the same
        batches, and takes its part of each."""
        own = slice(self.part.start, self.part.stop)
        while True:
            full, size = False, 0
            for x, conditions in source:
                full, size = full or len(x) == self.batch_size, max(size, len(x))
                if len(x) == self.batch_size:
                    yield x[own], {name: value[own] for name, value in conditions.items()}
            if not full:
                raise FromNoiseError(f"data gives batches of {size}, batch_size is {self.batch_size}: make them one")

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
    """Whether a warning of this source file is a decoder's, about an image that it read all the same."""
    return not {"PIL", "pillow_heif"}.isdisjoint(Path(source).parts)


def as_state(x: Tensor, mirrored: Tensor | None) -> Tensor:
    """float32 as the network learns it: 0..255 becomes [-1, 1], and some are mirrored; on whatever device x is."""
    x = to_unit(x) if x.dtype == torch.uint8 else x
    return x if mirrored is None else mirror(x, mirrored)


def mirror(x: Tensor, mirrored: Tensor) -> Tensor:
    """x with some of the examples mirrored along their last axis."""
    return torch.where(mirrored.view(-1, *[1] * (x.dim() - 1)), x.flip(-1), x)


def mirror_beside(conditions: Conditions, x: Tensor, mirrored: Tensor) -> Conditions:
    """The same of conditions that lie as the states x do: an image that is shown beside an image is turned with it; a
    text is none, whatever its shape."""
    side = x.shape[2:]
    alike = {name for name, value in conditions.items()
             if name != "text" and value.dim() == x.dim() > 2 and value.shape[2:] == side}  # fmt: skip
    return {name: mirror(value, mirrored) if name in alike else value for name, value in conditions.items()}


def _without_handler(loader: DataLoader) -> Iterator[Any]:
    """Its iterator, and the signals as they were.

    torch has the death of a loader process raise wherever the program is at that moment; the loader itself notices it
    too, within five seconds and where somebody waits for it.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    if before is not None:
        signal.signal(signal.SIGCHLD, before)
    return batches


def _outlasting_signals(worker: int) -> None:
    """In a loader process: Ctrl-C, and what a cluster's manager sends to every process of a job, is for the training,
    which ends by itself after a step, and that step may need one more batch. A second SIGTERM is meant."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, _asked_to_end)


def _asked_to_end(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(_GRACE)


def _survived(batches: Iterator[Any], by_others: bool) -> Iterator[Any]:
    """The same; `by_others` tells that other processes make them.

    Raises:
        TrainingError: a loader process is dead, which the loader notices, or the handing over of a batch.
    """
    try:
        yield from batches
    except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:
        text = files.one_line(error)
        handing = by_others and not isinstance(error, RuntimeError) and "DataLoader worker" not in text
        if not (handing or text.startswith("DataLoader worker")):
            raise  # a data set's own
        raise TrainingError(f"a loader process was ended from outside, as where memory ran out ({text}); "
                            "ask for fewer, data.workers=0 for none, and resume") from None  # fmt: skip


class _Rows:
    """A batch for a list of numbers, as DataLoader asks for it, and what a loader process would have warned of.

    In its place an error for a person, which would else be raised with the traceback of a loader process in its text.
    """

    def __init__(self, source: Examples):
        self.source = source

    def __getitem__(self, indices: Sequence[int]) -> tuple[tuple[Tensor, Conditions] | FromNoiseError, list[_Warning]]:
        if get_worker_info() is None:  # it is the caller's own process, which hears of warnings by itself
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
    """A class of a stranger's may not be known to the other process."""
    return str(said.message), said.category if said.category.__module__ == "builtins" else UserWarning


class _Order:
    """Lists of numbers for a DataLoader, without end."""

    def __init__(self, feed: Feed, first: int):
        self.feed, self.first = feed, first

    def __iter__(self) -> Iterator[Any]:
        for step in count(self.first):
            if self.feed.order is not None:
                self.feed.order.ahead(step, self.feed.part)
            yield self.feed.indices(step)
