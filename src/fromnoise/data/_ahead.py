"""Prefetch the shards that a stream needs next, while training reads the current ones."""

import queue
import threading
import weakref
from collections.abc import Sequence

import numpy as np

from fromnoise.data import _remote as remote
from fromnoise.data._lanes import Lanes
from fromnoise.data._opening import Shards
from fromnoise.data.order import Order

_LOOKS_UP = 0.5
"""Seconds after which an idle thread checks whether the program is ending."""
_FETCHING = 4
"""Shards that a process downloads or unpacks at a time."""


class StreamOrder(Order):
    """The order of `Lanes`; threads download and unpack the shards of the current and the next round."""

    def __init__(self, shards: Shards, name: str, lanes: Lanes):
        self.shards, self.name, self.lanes = shards, name, lanes
        self._round, self._wanted = -1, set[int]()
        self._queue: queue.SimpleQueue[int | None] | None = None

    def numbers(self, step: int, places: Sequence[int]) -> list[int]:
        return self.lanes.numbers(step, places).tolist()

    def ahead(self, step: int, places: Sequence[int]) -> None:
        now = self.lanes.round_of(step)
        if now == self._round:
            return
        if self._queue is None:
            self._queue = queue.SimpleQueue()
            for _ in range(_FETCHING):
                threading.Thread(target=_prepare, args=(self.shards, self._queue)).start()
            weakref.finalize(self, _end, self._queue)
        wanted = [*self.lanes.shards(step, places), *self.lanes.shards(step, places, 1)]
        for shard in dict.fromkeys(wanted):
            if shard not in self._wanted:
                self._queue.put(shard)
        self._round, self._wanted = now, set(wanted)

    def note(self, processes: int) -> str | None:
        shards, lanes = int(np.count_nonzero(self.lanes.sizes)), self.lanes.lanes
        if processes > shards:
            return (f"{self.name} has {shards:,} shards for {processes:,} processes, so that several read parts of the "
                    "same one")  # fmt: skip
        if processes > lanes:
            return (f"{lanes:,} lanes for {processes:,} processes, so that several read the same shards: give "
                    f"data.lanes and a batch size that {processes:,} divides")  # fmt: skip
        return None


def _prepare(shards: Shards, wanted: "queue.SimpleQueue[int | None]") -> None:
    """Prepare shards until None is requested or the program ends.

    The thread is not a daemon, because a daemon could be killed in the middle of library code.
    """
    while not remote.is_ending():
        try:
            number = wanted.get(timeout=_LOOKS_UP)
            if number is None:
                return
            shards.ready(number)
        except queue.Empty:
            continue
        except Exception:
            continue  # reading the shard raises the same error, which is then reported


def _end(wanted: "queue.SimpleQueue[int | None]") -> None:
    while not wanted.empty():
        try:
            wanted.get_nowait()
        except queue.Empty:
            break
    for _ in range(_FETCHING):
        wanted.put(None)
