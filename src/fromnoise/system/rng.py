"""Random numbers that depend on a counter instead of a generator's state.

Every number is a function of (seed, index, call, stream) through the counter-based generator Philox 4x64; no state is
carried from one number to the next. Therefore the noise of sample i does not depend on its batch, the noise of training
example g at step k does not depend on micro-batches, workers or processes, and a resumed run needs no generator state.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """What the numbers are used for; streams of one seed are independent."""

    SAMPLE = 0
    TRAIN_NOISE = 1
    TRAIN_TIME = 2
    TRAIN_FLIP = 3
    DATA_ORDER = 4
    DROPOUT = 5
    LIKELIHOOD = 6
    SPREAD = 7
    LABEL = 8
    STRENGTH = 9
    LOW_NOISE = 10
    LATENT = 11
    STAGE = 12
    CONDITION = 13
    HOLD_OUT = 14
    AUGMENT = 15
    DISTILL = 16
    SHARDS = 17
    LANE = 18


class _Counted:
    """One reusable Philox generator: setting its counter is ten times cheaper than making a new one."""

    def __init__(self) -> None:
        self._bits = np.random.Philox(key=[0, 0])
        self.generator = np.random.Generator(self._bits)
        # Tuples, since the generator reads its state number by number, which takes four times as long from an array.
        # Position 4 means an empty buffer.
        self._inner: dict[str, tuple[int, ...]] = {}
        empty = {"buffer": (0, 0, 0, 0), "buffer_pos": 4, "has_uint32": 0, "uinteger": 0}
        self._state: Any = {"bit_generator": "Philox", "state": self._inner, **empty}

    def at(self, seed: int, index: int, call: int, stream: int) -> np.random.Generator:
        self._inner["key"] = (seed & _WORD, index & _WORD)
        self._inner["counter"] = (0, call, stream, 0)  # the first word counts the numbers within one call
        self._bits.state = self._state
        return self.generator


_WORD = 2**64 - 1


def normal(
    seed: int,
    indices: Iterable[int],
    call: int,
    shape: tuple[int, ...],
    stream: Stream = Stream.SAMPLE,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal numbers of shape `shape` for each index: [len(indices), *shape], on the CPU."""
    indices = list(indices)
    kind = np.float64 if dtype == torch.float64 else np.float32
    out = np.empty((len(indices), *shape), kind)
    counted = _Counted()
    for row, index in zip(out, indices, strict=True):
        counted.at(seed, index, call, stream).standard_normal(dtype=kind, out=row)
    return torch.from_numpy(out)


def uniform(seed: int, indices: Iterable[int], call: int, stream: int, shape: tuple[int, ...] = ()) -> Tensor:
    """Uniform numbers in [0, 1) of shape `shape` for each index: [len(indices), *shape], float64, on the CPU."""
    counted = _Counted()
    rows = [counted.at(seed, i, call, stream).random(shape or None) for i in indices]
    return torch.from_numpy(np.array(rows).reshape(len(rows), *shape))


def permutation(seed: int, call: int, n: int, stream: Stream = Stream.DATA_ORDER) -> np.ndarray:
    """A random order of range(n), int64."""
    return _Counted().at(seed, 0, call, stream).permutation(n)


def integer(seed: int, index: int, call: int, stream: Stream) -> int:
    """A number in [0, 2^63), to seed a generator that has no counter."""
    return int(_Counted().at(seed, index, call, stream).integers(2**63))
