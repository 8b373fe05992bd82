"""The queue: one job at a time in the worker, its frames kept so that any page can look at them, from any point on."""

import asyncio
import itertools
import multiprocessing
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from fromnoise.app.studio import works
from fromnoise.errors import FromNoiseError

MOST_WAITING = 20
KEPT_BYTES = 512 * 2**20
"""Of the frames of jobs that have ended; the oldest are dropped first."""
ENDED = ("done", "failed", "cancelled")


@dataclass
class Job:
    """A work on its way.

    Attributes:
        number: its name.
        kind, values, places: the work, and where what it names lies.
        state: waiting, running, done, failed or cancelled.
        words: why it failed.
        seconds: that it took.
        frames: everything that it sent; None once they were dropped.
        question: whether it is answered between the steps of another.
    """

    number: int
    kind: str
    values: dict[str, Any]
    places: dict[str, str]
    question: bool = False
    state: str = "waiting"
    words: str = ""
    seconds: float = 0.0
    frames: list[bytes] | None = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    began: float = 0.0

    def about(self) -> dict[str, Any]:
        """For the page."""
        return {"number": self.number, "kind": self.kind, "state": self.state, "words": self.words,
                "run": self.values.get("run", ""), "seconds": self.seconds}  # fmt: skip

    def tell(self) -> None:
        """Wake whoever watches."""
        self.changed.set()
        self.changed = asyncio.Event()


class Jobs:
    """Everything that is computed for pages.

    Args:
        turn: a lock that is held while a job runs; a training that the studio started waits for it between its steps.
    """

    def __init__(self, turn: Path):
        self.hardware = ""
        self._numbers = itertools.count(1)
        self._jobs: dict[int, Job] = {}
        self._running: Job | None = None
        self._turn = FileLock(turn, thread_local=False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process: Any = None
        self._pipe: Any = None
        self._closing = False

    def start(self) -> None:
        """In the server's loop: begin to work."""
        self._loop = asyncio.get_running_loop()
        self._spawn()

    def close(self) -> None:
        """End the worker."""
        self._closing = True
        if self._process is not None:
            self._process.terminate()
            self._process.join(5)
        self._turn.release(force=True)

    def add(self, kind: str, values: Mapping[str, Any], places: Mapping[str, str]) -> Job:
        """Put a work into the queue, or answer a question at once.

        Raises:
            FromNoiseError: no such work, values that are none, or a queue that is full.
        """
        question = type(works.made(kind, values)).quick
        if not question and sum(job.state == "waiting" for job in self._jobs.values()) >= MOST_WAITING:
            raise FromNoiseError(f"{MOST_WAITING} jobs are waiting already: let some of them end")
        job = Job(next(self._numbers), kind, dict(values), dict(places), question)
        self._jobs[job.number] = job
        if question:
            self._send(("ask", job.number, kind, job.values, job.places), job)
        else:
            self._next()
        return job

    def get(self, number: int) -> Job:
        """The job of that number.

        Raises:
            FromNoiseError: there is none.
        """
        if number not in self._jobs:
            raise FromNoiseError("this result is not kept any more: make it again")
        return self._jobs[number]

    def cancel(self, number: int) -> None:
        """Take a job out of the queue, or stop it after its step."""
        job = self.get(number)
        if job.state == "waiting":
            self._end(job, "cancelled")
        elif job.state == "running":
            self._send(("cancel", number), job)

    def queue(self) -> list[dict[str, Any]]:
        """What runs and waits, and what ended last."""
        shown = [job for job in self._jobs.values() if not job.question]
        alive = [job for job in shown if job.state not in ENDED]
        return [job.about() for job in (*alive, *[j for j in shown if j.state in ENDED][-5:])]

    async def frames(self, job: Job, start: int = 0) -> AsyncIterator[bytes]:
        """Frames from one on, as they come, until the job has ended."""
        at = start
        while True:
            changed = job.changed
            if job.frames is None:
                return
            while at < len(job.frames):
                yield job.frames[at]
                at += 1
                if job.frames is None:
                    return
            if job.state in ENDED:
                return
            await changed.wait()

    async def answer(self, job: Job) -> bytes:
        """The frame of a question.

        Raises:
            FromNoiseError: what the work says.
        """
        async for frame in self.frames(job):
            self._jobs.pop(job.number, None)
            return frame
        self._jobs.pop(job.number, None)
        raise FromNoiseError(job.words or "no answer came: try again")

    def _next(self) -> None:
        if self._running is not None:
            return
        job = next((j for j in self._jobs.values() if j.state == "waiting" and not j.question), None)
        if job is None:
            with suppress(Exception):
                self._turn.release()
            return
        self._running, job.state, job.began = job, "running", time.monotonic()
        job.tell()
        threading.Thread(target=self._with_turn, args=(job,), daemon=True).start()

    def _with_turn(self, job: Job) -> None:
        """A training may be within a step, which ends first."""
        if not self._turn.is_locked:
            self._turn.acquire()
        self._call(self._send, ("job", job.number, job.kind, job.values, job.places), job)

    def _send(self, message: tuple[Any, ...], job: Job) -> None:
        try:
            self._pipe.send(message)
        except (OSError, AttributeError, ValueError):
            self._end(job, "failed", "the process that computes is starting again: try once more")

    def _end(self, job: Job, state: str, words: str = "", seconds: float = 0.0) -> None:
        job.state, job.words, job.seconds = state, words, seconds or time.monotonic() - (job.began or time.monotonic())
        job.tell()
        if job is self._running:
            self._running = None
            self._forget()
            self._next()

    def _forget(self) -> None:
        """Drop the oldest results beyond what is kept."""
        ended = [job for job in self._jobs.values() if job.state in ENDED and job.frames is not None]
        total = sum(len(frame) for job in ended for frame in job.frames or ())
        for job in ended[:-1]:
            if total <= KEPT_BYTES and len(ended) < 200:
                return
            total -= sum(map(len, job.frames or ()))
            job.frames = None
            del self._jobs[job.number]

    def _spawn(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        from fromnoise.app.studio.worker import main

        self._process = context.Process(target=main, args=(theirs,), daemon=True, name="fromnoise-studio")
        self._process.start()
        theirs.close()
        threading.Thread(target=self._listen, args=(self._pipe,), daemon=True).start()

    def _listen(self, pipe: Any) -> None:
        try:
            while True:
                self._call(self._heard, *pipe.recv())
        except (EOFError, OSError):
            self._call(self._died)

    def _call(self, function: Any, *args: Any) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed: so is the studio
            self._loop.call_soon_threadsafe(function, *args)

    def _heard(self, what: str, number: int, value: Any) -> None:
        if what == "ready":
            self.hardware = value
            return
        job = self._jobs.get(number)
        if job is None:
            return
        if what == "frame":
            if job.frames is not None:
                job.frames.append(value)
            job.tell()
        elif what == "done":
            self._end(job, "done", seconds=value)
        else:
            self._end(job, what, value)

    def _died(self) -> None:
        """The worker is gone: the system took it, most likely for its memory."""
        if self._closing:
            return
        self.hardware = ""
        words = "the process that computes was ended by the system, most likely for want of memory: draw fewer images"
        lost = [
            job for job in self._jobs.values() if job.state == "running" or (job.question and job.state == "waiting")
        ]
        self._spawn()
        for job in lost:
            self._end(job, "failed", words)
