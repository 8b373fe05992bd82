"""The worker process: computes one job at a time, and answers questions between its steps."""

import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fromnoise.app.studio import works
from fromnoise.app.studio.bench import Bench
from fromnoise.app.studio.frames import pack
from fromnoise.errors import FromNoiseError


class Cancelled(Exception):
    """The job was cancelled by the page."""


def main(pipe: Connection) -> None:
    """Serve ("job" | "ask", number, kind, values, places) and ("cancel", number) until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is for the server
    try:
        _Worker(pipe).serve()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


class _Worker:
    def __init__(self, pipe: Connection):
        self.pipe, self.bench = pipe, Bench()
        self.waiting: deque[tuple[Any, ...]] = deque()
        self.cancelled: set[int] = set()

    def serve(self) -> None:
        self._warm()
        while True:
            _, number, *rest = self.waiting.popleft() if self.waiting else self._next()
            self._do(number, *rest)

    def _warm(self) -> None:
        """Import what every work needs while nobody is waiting."""
        from fromnoise.app import runs
        from fromnoise.system.hardware import choose, tune

        tune("auto")
        _ = runs.open_model
        self.pipe.send(("ready", 0, choose("auto").why))

    def _next(self) -> tuple[Any, ...]:
        """Wait for the next job, answering questions meanwhile."""
        while True:
            message = self.pipe.recv()
            if message[0] == "job":
                return message
            self._heard(message)

    def _heard(self, message: tuple[Any, ...]) -> None:
        what, number, *rest = message
        if what == "cancel":
            self.cancelled.add(number)
        elif what == "ask":
            self._do(number, *rest)
        else:
            self.waiting.append(message)

    def _breathe(self, number: int) -> None:
        """Handle messages that arrived during a step."""
        while self.pipe.poll(0):
            self._heard(self.pipe.recv())
        if number in self.cancelled:
            raise Cancelled

    def _do(self, number: int, kind: str, values: Mapping[str, Any], places: Mapping[str, str]) -> None:
        started = time.perf_counter()
        try:
            work = works.made(kind, values)

            def send(header: Mapping[str, Any], arrays: Any = None) -> None:
                about = {"work": kind, "run": values.get("run", "")} if header.get("kind") == "start" else {}
                now = round(time.perf_counter() - started, 6)
                self.pipe.send(("frame", number, pack({"at": now, **about, **header}, arrays)))
                if not work.quick:
                    self._breathe(number)

            work.compute(self.bench, {name: Path(place) for name, place in places.items()}, send)
            self.pipe.send(("done", number, time.perf_counter() - started))
        except Cancelled:
            self.pipe.send(("cancelled", number, ""))
        except FromNoiseError as error:
            self.pipe.send(("failed", number, " ".join(str(error).split())))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # the worker must survive any error of a work
            self.pipe.send(("failed", number, in_words(error)))


def in_words(error: Exception) -> str:
    """Describe an error in a sentence for the page; a bug of fromnoise is also printed to the terminal."""
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(w in said for w in ("out of memory", "allocate memory")):
        return "not enough memory: draw fewer images, or close other programs that use it"
    if isinstance(error, OSError):
        return f"{error.filename}: {(error.strerror or said).lower()}" if error.filename else said.lower()
    traceback.print_exception(error, file=sys.stderr)
    return f"this is a bug in fromnoise, not in your input ({type(error).__name__}: {said[:200]})"
