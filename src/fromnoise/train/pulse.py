"""Heartbeats between processes: if one died, hangs or ran out of memory, all others end soon as well."""

import math
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any

_HUNG_AFTER = 45.0
"""Seconds without a heartbeat after which a process counts as gone; $FROMNOISE_HUNG_AFTER overrides it."""
_PARTING = 20.0
"""Seconds that a failed process waits for its connection to close."""
_STEP = 600.0
"""Seconds that a step may take, or twenty times the longest step so far; after that, a process counts as hanging."""
_UNUSUAL = 3600.0
"""The same limit for a step that may compile the network, or that follows a checkpoint, validation or samples."""

_FIRST = "the first process of this run cannot be reached"


class Pulse:
    """The heartbeat of a process, in two threads.

    One thread increments a counter in the store of the process group and watches the counter of the next process. The
    other one checks that the first gets answers, and how long the current step takes.

    The heartbeat is needed because collectives have a timeout of hours: one process may download data while the others
    wait, and without it they would wait as long for a process that is gone. Each process watches only one other, so
    that even a thousand of them put little load on the store.

    Args:
        store: the store of the process group; a separate client is made from it, because a waiting client blocks.
        rank, world: rank of this process, and number of processes.
    """

    def __init__(self, store: Any, rank: int, world: int):
        self.store, self.rank, self.world = store.clone(), rank, world
        self.limit = float(os.environ.get("FROMNOISE_HUNG_AFTER") or _HUNG_AFTER)
        self.step_limit, self.since = math.inf, time.monotonic()
        self._ended, self._parting, self._why = threading.Event(), False, ""
        self.store.set(f"pulse/{rank}", "0")
        self.store.set(f"host/{rank}", socket.gethostname())
        self.answered, self.every = time.monotonic(), min(5.0, self.limit / 5)
        self._threads = [threading.Thread(target=one, name="fromnoise-pulse", daemon=True)
                         for one in (self._beat, self._watch)]  # fmt: skip

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def failed(self, error: BaseException) -> None:
        """Announce to the others that this process ends because of an error.

        If its connection then does not close in time, the process reports the error and ends anyway.
        """
        self._why = (str(error) or type(error).__name__).splitlines()[0]
        with suppress(Exception):
            if not self.store.check(["gone"]):
                self.store.set("gone", f"process {self.rank} of this run ended unexpectedly ({self._why})")
        self.since, self.step_limit, self._parting = time.monotonic(), _PARTING, True

    def end(self) -> None:
        """Stop the heartbeat at the regular end of a run."""
        with suppress(Exception):
            self.store.set(f"pulse/{self.rank}", "done")
            until = time.monotonic() + self.limit
            if self.rank == 0 and not self._parting:  # the store may end with it while others still need it
                while not all(self._read(f"pulse/{r}") == "done" for r in range(self.world)):
                    if self._read("gone") or time.monotonic() > until:
                        break
                    time.sleep(0.02)
        self._ended.set()
        for thread in self._threads:
            thread.join(self.limit)  # with a limit: a thread may wait for a hanging process

    def began(self, seconds: float | None, usual: bool = True) -> None:
        """Announce that a step begins.

        Args:
            seconds: the duration of the longest step so far; None if what follows is not a step and may take any time.
            usual: False for the first step, and for steps that follow something else.
        """
        self.since = time.monotonic()
        self.step_limit = math.inf if seconds is None else max(_STEP if usual else _UNUSUAL, 20 * seconds)

    def host(self, rank: int) -> str:
        """The name of the machine that a process runs on."""
        return self.store.get(f"host/{rank}").decode()

    def _beat(self) -> None:
        """The first thread: count, and watch the counter of the next process."""
        watched, seen, at, count = (self.rank + 1) % self.world, "", time.monotonic(), 0
        while (late := self._slept()) is not None:
            count, now, at = count + 1, time.monotonic(), at + late
            try:
                self.store.set(f"pulse/{self.rank}", str(count))
                said, gone = self._read(f"pulse/{watched}"), self._read("gone")
            except Exception:  # the process of the store is gone
                if self._ended.is_set() or self._parting:
                    return None
                return self._leave(_FIRST, announce=False)
            self.answered = time.monotonic()
            if gone and not self._parting:
                return self._leave(gone, announce=False)
            if said != seen or said == "done":
                seen, at = said, now
            elif now - at > self.limit:
                return self._leave(f"process {watched} on {self.host(watched)} has given no sign of life for "
                                   f"{self.limit:.0f} seconds")  # fmt: skip

    def _watch(self) -> None:
        """The second thread: check that the store answers, and how long the step takes."""
        while (late := self._slept()) is not None:
            self.since, self.answered = self.since + late, self.answered + late
            now = time.monotonic()
            if now - self.since > self.step_limit and self._parting:
                return self._leave(self._why, announce=False)
            if now - self.since > self.step_limit:
                return self._leave(f"no step within {self.step_limit:.0f} seconds: a process of this run hangs")
            if now - self.answered > self.limit:
                return self._leave(_FIRST, announce=False)

    def _slept(self) -> float | None:
        """Sleep until the next check; returns the seconds by which it is late, or None at the end.

        A check is late if this process was stopped for a while, during which it could not hear from the others.
        """
        began = time.monotonic()
        if self._ended.wait(self.every):
            return None
        late = time.monotonic() - began - self.every
        return late if late > self.every else 0.0

    def _read(self, key: str) -> str:
        return self.store.get(key).decode() if self.store.check([key]) else ""

    def _leave(self, why: str, announce: bool = True) -> None:
        """End the process at once, because its main thread may be waiting for another one for hours."""
        if announce:
            with suppress(Exception):
                self.store.set("gone", why)
        if self.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            time.sleep(1.2 * self.every)  # the store ends with this process, and the others are to hear the reason
        print(f"fromnoise: {why}; the last checkpoint is intact: resume", file=sys.stderr, flush=True)
        os._exit(1)
