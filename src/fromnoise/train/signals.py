"""SIGTERM and Ctrl-C ask a run to stop after the step it is in; a second one stops it at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Attributes: number: of the signal that asked to stop, 0 while none did."""

    number = 0

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
        if self.number:
            os._exit(128 + number)
        self.number = number
