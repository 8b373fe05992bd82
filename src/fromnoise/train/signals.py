"""SIGTERM and Ctrl-C ask a run to stop after the step it is in; a second one stops it at once.

A cluster's manager sends SIGTERM to every process of a job, and torchrun passes its own on: what comes within a few
seconds of the first is the same request.
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
    """Attributes: number: of the signal that asked to stop, 0 while none did."""

    number = 0
    _since = 0.0

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Catch the signals inside the block (in the main thread; elsewhere Python cannot)."""
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
