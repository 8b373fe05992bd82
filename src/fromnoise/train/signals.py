"""SIGTERM and Ctrl-C ask a run to stop after the current step; a second signal stops it at once.

Cluster managers send SIGTERM to every process of a job, and torchrun forwards its own, so a process may get it twice.
A SIGTERM within a few seconds of the first signal therefore counts as the same request.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SAME = 5.0


class StopRequest:
    """Remembers whether a signal asked the run to stop.

    Attributes:
        number: the number of the signal, or 0.
    """

    number = 0
    _since = 0.0

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Catch the signals inside the block; this is possible only in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {n: signal.signal(n, self._asked) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.number and time.monotonic() - self._since < _SAME:
            return
        if self.number:
            os._exit(128 + number)
        self.number, self._since = number, time.monotonic()
