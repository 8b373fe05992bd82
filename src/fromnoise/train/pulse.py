"""Signs of life: a process that died, hangs or ran out of memory takes the others with it, and soon."""

import math
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any

_HUNG_AFTER = 45.0
"""Seconds without a sign of life after which a process counts as gone; $FROMNOISE_HUNG_AFTER."""
_PARTING = 20.0
"""Seconds that a process which failed waits for its connection to end."""
_STEP = 600.0
"""Seconds that a step may take, or twenty times the longest so far: some process hangs else."""
_UNUSUAL = 3600.0
"""The same of a step that may have to compile the network, or to wait for what came before it."""

_FIRST = "the first process of this run cannot be reached"


class Pulse:
    """Two threads of each process: one counts in the store of the process group and looks at the next process' count,
    the other looks whether the first one gets answers.

    A collective with a process that is gone would wait for hours, as it has to where one process downloads and the
    others wait for it. Each process looks at one other, so that the store has little to do with a thousand of them.

    Args:
        store: of the process group; a client of its own is made of it, since one that waits keeps others waiting.
        rank, world: of this process.
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
        """This process leaves for this reason, which the others hear; where the connection does not let it go, it says
        so and leaves all the same."""
        self._why = (str(error) or type(error).__name__).splitlines()[0]
        with suppress(Exception):
            if not self.store.check(["gone"]):
                self.store.set("gone", f"process {self.rank} of this run ended unexpectedly ({self._why})")
        self.since, self.step_limit, self._parting = time.monotonic(), _PARTING, True

    def end(self) -> None:
        """No more signs are due."""
        with suppress(Exception):
            self.store.set(f"pulse/{self.rank}", "done")
            until = time.monotonic() + self.limit
            if self.rank == 0 and not self._parting:  # its store may end with it, and others may still need it
                while not all(self._read(f"pulse/{r}") == "done" for r in range(self.world)):
                    if self._read("gone") or time.monotonic() > until:
                        break
                    time.sleep(0.02)
        self._ended.set()
        for thread in self._threads:
            thread.join(self.limit)  # which may wait for a process that hangs

    def began(self, seconds: float | None, usual: bool = True) -> None:
        """A step began, after steps of at most so many seconds; None: what follows is no step and may take any time.
        `usual` is false of the first one, and of those after something else."""
        self.since = time.monotonic()
        self.step_limit = math.inf if seconds is None else max(_STEP if usual else _UNUSUAL, 20 * seconds)

    def host(self, rank: int) -> str:
        """The name of the machine that a process runs on."""
        return self.store.get(f"host/{rank}").decode()

    def _beat(self) -> None:
        """Says that this process lives, and looks whether another one does."""
        watched, seen, at, count = (self.rank + 1) % self.world, "", time.monotonic(), 0
        while (late := self._slept()) is not None:
            count, now, at = count + 1, time.monotonic(), at + late
            try:
                self.store.set(f"pulse/{self.rank}", str(count))
                said, gone = self._read(f"pulse/{watched}"), self._read("gone")
            except Exception:  # of a store whose process is gone
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
        """Looks whether the store answers, and how long the step takes."""
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
        """Until the next look: seconds by which it comes late, as where this process itself was stopped, in which it
        could hear of nobody; None at the end."""
        began = time.monotonic()
        if self._ended.wait(self.every):
            return None
        late = time.monotonic() - began - self.every
        return late if late > self.every else 0.0

    def _read(self, key: str) -> str:
        return self.store.get(key).decode() if self.store.check([key]) else ""

    def _leave(self, why: str, announce: bool = True) -> None:
        """Ends the process at once: its main thread may wait for another one for hours."""
        if announce:
            with suppress(Exception):
                self.store.set("gone", why)
        if self.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            time.sleep(1.2 * self.every)  # the store ends with this process, and the others are to hear the reason
        print(f"fromnoise: {why}; the last checkpoint is intact: resume", file=sys.stderr, flush=True)
        os._exit(1)
