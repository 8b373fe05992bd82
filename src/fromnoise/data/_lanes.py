"""The order of streamed examples: which example a step shows at which position of its batch, computed directly."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fromnoise.system import rng

_MOST = 2**20
"""Most examples in a block, so that their order takes little memory."""
_EPOCHS = 4


@dataclass(frozen=True)
class _Epoch:
    """The order of the shards in one epoch, and where each ends in the sequence of the epoch's examples."""

    shards: np.ndarray
    ends: np.ndarray


class _Block(NamedTuple):
    """The part of the sequence that a lane reads in one round, in a random order.

    Attributes:
        number: index of the block over all rounds and lanes.
        start: first position in the sequence.
        length: number of positions.
        first: number of examples that the lane has shown before this block.
    """

    number: int
    start: int
    length: int
    first: int


class Lanes:
    """(step, position in the batch) -> example, a function of only the seed, batch size, lanes and shard sizes.

    All epochs form one sequence; each epoch lists its n examples shard by shard, in a random order of the shards. Round
    m is the part of the sequence from L floor(m n / (R L)) to the beginning of round m + 1. There are R rounds per
    epoch, and each consists of L blocks, one for each lane. A lane shows the examples of its block in a random order. A
    batch of B positions is divided into L groups of B / L, and lane l fills group l. Therefore

    - every epoch shows each example once, except for fewer than L at its end, which the next epoch's first round shows;
    - a process that takes neighbouring positions reads few lanes, and so few shards;
    - any step is found directly, without replaying earlier ones.

    Args:
        sizes: number of examples in each shard, n in total.
        seed: seed of the random order.
        batch_size: B.
        lanes: largest number of lanes; L is the largest divisor of B up to it.
    """

    def __init__(self, sizes: np.ndarray, seed: int, batch_size: int, lanes: int):
        self.sizes, self.seed = np.asarray(sizes, np.int64), seed
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.n = int(self.sizes.sum())
        self.lanes = next(d for d in range(min(lanes, batch_size), 0, -1) if batch_size % d == 0)
        self.group = batch_size // self.lanes
        mean = -(-self.n // int(np.count_nonzero(self.sizes)))  # so that a block is about one shard
        self.rounds = -(-self.n // (self.lanes * min(mean, _MOST)))
        self._epochs: OrderedDict[int, _Epoch] = OrderedDict()
        self._orders: OrderedDict[int, np.ndarray] = OrderedDict()

    def numbers(self, step: int, places: Sequence[int]) -> np.ndarray:
        """The examples that step `step` (from 1) shows at these positions of its batch: int64, numbered by shard."""
        chosen = np.asarray(places, np.int64)
        lanes, shown = chosen // self.group, (step - 1) * self.group + chosen % self.group
        positions = np.empty(len(chosen), np.int64)
        for lane in np.unique(lanes).tolist():
            own = np.flatnonzero(lanes == lane)
            first, last = self._round(int(shown[own].min())), self._round(int(shown[own].max()))
            for block in (self._block(number, lane) for number in range(first, last + 1)):
                inside = own[(block.first <= shown[own]) & (shown[own] < block.first + block.length)]
                positions[inside] = self._order(block)[shown[inside] - block.first]
                positions[inside] += block.start
        epochs, offsets = np.divmod(positions, self.n)
        found = np.empty(len(chosen), np.int64)
        for number in np.unique(epochs).tolist():
            mine = epochs == number
            row = self._epoch(number)
            at = np.searchsorted(row.ends, offsets[mine], side="right")
            shards = row.shards[at]
            found[mine] = self.starts[shards] + offsets[mine] - (row.ends[at] - self.sizes[shards])
        return found

    def shards(self, step: int, places: Sequence[int], ahead: int = 0) -> list[int]:
        """The shards that the lanes of these positions read in the round of step `step`, or `ahead` rounds later."""
        found: dict[int, None] = {}
        for lane in dict.fromkeys(place // self.group for place in places):
            block = self._block(self._round((step - 1) * self.group) + ahead, lane)
            position, end = block.start, block.start + block.length
            while position < end:
                epoch = position // self.n
                row, last = self._epoch(epoch), min(end, (epoch + 1) * self.n)
                first, stop = np.searchsorted(row.ends, [position - epoch * self.n, last - 1 - epoch * self.n], "right")
                between = row.shards[first : stop + 1]
                found |= dict.fromkeys(between[self.sizes[between] > 0].tolist())
                position = last
        return list(found)

    def round_of(self, step: int) -> int:
        """The round in which a step begins; it is the same for all lanes."""
        return self._round((step - 1) * self.group)

    def _round(self, shown: int) -> int:
        """The round of the example that a lane shows after `shown` others."""
        return ((shown + 1) * self.rounds * self.lanes - 1) // self.n

    def _begin(self, number: int) -> int:
        """The number of examples that each lane has shown before a round."""
        return number * self.n // (self.rounds * self.lanes)

    def _block(self, number: int, lane: int) -> _Block:
        first = self._begin(number)
        length = self._begin(number + 1) - first
        return _Block(number * self.lanes + lane, self.lanes * first + lane * length, length, first)

    def _order(self, block: _Block) -> np.ndarray:
        kept = self._orders
        if block.number not in kept:
            kept[block.number] = rng.permutation(self.seed, block.number, block.length, rng.Stream.LANE).astype(
                np.int32
            )
            while len(kept) > 2 * self.lanes:
                kept.popitem(last=False)
        return kept[block.number]

    def _epoch(self, number: int) -> _Epoch:
        kept = self._epochs
        if number not in kept:
            shards = rng.permutation(self.seed, number, len(self.sizes), rng.Stream.SHARDS)
            kept[number] = _Epoch(shards, np.cumsum(self.sizes[shards]))
            while len(kept) > _EPOCHS:
                kept.popitem(last=False)
        return kept[number]
