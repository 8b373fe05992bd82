"""The job queue: the worker runs one job at a time; frames are kept, so pages can read them from any point."""

import asyncio
import itertools
import multiprocessing
import queue
import secrets
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fromnoise.app.studio import works
from fromnoise.app.studio.job import ENDED, Job
from fromnoise.errors import FromNoiseError

MOST_WAITING, MOST_ASKED = 20, 100
"""The most jobs, and questions, that may wait at once."""
KEPT_BYTES = 512 * 2**20
"""The most bytes kept of the frames of ended jobs; the oldest are dropped first."""


class Jobs:
    """Runs the jobs and questions of all pages.

    Args:
        turn: path of a lock that is held while a job runs; trainings started by the studio wait for it between steps.
    """

    def __init__(self, turn: Path):
        self.hardware = ""
        self._numbers = itertools.count(
            100_000 + secrets.randbelow(900_000)
        )  # so that addresses from an earlier studio match no job
        self._jobs: dict[int, Job] = {}
        self._running: Job | None = None
        self._turn = FileLock(turn, thread_local=False)
        self._gate = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process: Any = None
        self._outbox: queue.SimpleQueue[Any] | None = None
        self._deaths = 0
        self._closing = False

    def start(self) -> None:
        """Start the worker; call this in the server's event loop."""
        self._loop = asyncio.get_running_loop()
        self._spawn()

    def leave(self) -> None:
        """Cancel every job, so that no page keeps waiting."""
        self._closing = True
        for job in list(self._jobs.values()):
            self._end(job, "cancelled")

    def close(self) -> None:
        """Cancel every job and end the worker."""
        self.leave()
        if self._process is not None:
            self._process.terminate()
            self._process.join(5)
            self._process.kill()
        self._turn.release(force=True)

    def add(self, kind: str, values: Mapping[str, Any], places: Mapping[str, str]) -> Job:
        """Queue a job, or send a question to the worker at once.

        Raises:
            FromNoiseError: if there is no such work, a value is invalid, or the queue is full.
        """
        question = type(works.made(kind, values)).quick
        waiting = sum(job.state == "waiting" and job.question == question for job in self._jobs.values())
        if question and (waiting >= MOST_ASKED or self._outbox is None):
            raise FromNoiseError("the studio is busy just now: try again in a moment")
        if not question and waiting >= MOST_WAITING:
            raise FromNoiseError(f"{MOST_WAITING} jobs are waiting already: wait until some are done")
        job = Job(next(self._numbers), kind, dict(values), dict(places), question)
        self._jobs[job.number] = job
        if question:
            self._send(("ask", job.number, kind, job.values, job.places))
        else:
            self._next()
        return job

    def get(self, number: int) -> Job:
        """Return the job with this number.

        Raises:
            FromNoiseError: if there is none.
        """
        if number not in self._jobs:
            raise FromNoiseError("this result is no longer kept: compute it again")
        return self._jobs[number]

    def cancel(self, number: int) -> None:
        """Remove a job from the queue, or stop it after its current step."""
        job = self.get(number)
        if job.given and job.state == "running":
            self._send(("cancel", number))
        else:
            self._end(job, "cancelled")

    def queue(self) -> list[dict[str, Any]]:
        """Running and waiting jobs, and the last few that ended."""
        shown = [job for job in list(self._jobs.values()) if not job.question]  # a copy: called from another thread
        alive = [job for job in shown if job.state not in ENDED]
        return [job.about() for job in (*alive, *[j for j in shown if j.state in ENDED][-5:])]

    async def frames(self, job: Job, start: int = 0) -> AsyncIterator[bytes]:
        """Yield the frames from number `start` on as they come, until the job ends."""
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
        """Return the frame that answers a question.

        Raises:
            FromNoiseError: if the work failed, with its message.
        """
        async for frame in self.frames(job):
            self._jobs.pop(job.number, None)
            return frame
        self._jobs.pop(job.number, None)
        raise FromNoiseError(job.words or "no answer came: try again")

    def _next(self) -> None:
        if self._running is not None or self._closing:
            return
        waiting = (j for j in self._jobs.values() if j.state == "waiting" and not j.question)
        job = next(waiting, None) if self._outbox is not None else None
        if job is None:
            self._turn.release(force=True)
            return
        self._running, job.state, job.began = job, "running", time.monotonic()
        job.tell()
        threading.Thread(target=self._with_turn, args=(job,), daemon=True).start()

    def _with_turn(self, job: Job) -> None:
        """Wait for the lock: a training may have to finish its step; meanwhile the job may be cancelled."""
        with self._gate:
            while job.state == "running" and not self._turn.is_locked:
                try:
                    self._turn.acquire(timeout=0.5)
                except Timeout:
                    continue
                except OSError:  # the folder is gone or full; run the job without the lock
                    break
        self._call(self._give, job)

    def _give(self, job: Job) -> None:
        if job.state == "running" and self._outbox is None:  # the worker died meanwhile; the next worker gets the job
            job.state, self._running = "waiting", None
        if job.state != "running":
            self._next()
            return
        job.given = True
        self._send(("job", job.number, job.kind, job.values, job.places))

    def _send(self, message: tuple[Any, ...]) -> None:
        """Queue a message for the sending thread: the pipe may be full while the worker is in a long step."""
        if self._outbox is not None:
            self._outbox.put(message)

    def _end(self, job: Job, state: str, words: str = "", seconds: float = 0.0) -> None:
        if job.state in ENDED:
            return
        job.state, job.words, job.seconds = state, words, seconds or time.monotonic() - (job.began or time.monotonic())
        job.tell()
        if job is self._running:
            self._running = None
            self._forget()
            self._next()

    def _forget(self) -> None:
        """Drop the oldest results beyond the limit."""
        ended = [job for job in self._jobs.values() if job.state in ENDED and job.frames is not None]
        total = sum(len(frame) for job in ended for frame in job.frames or ())
        for job in ended[:-1]:
            if total <= KEPT_BYTES and len(ended) < 200:
                return
            total -= sum(map(len, job.frames or ()))
            job.frames = None
            del self._jobs[job.number]

    def _spawn(self) -> None:
        if self._closing:
            return
        from fromnoise.app.studio.worker import main

        context = multiprocessing.get_context("spawn")
        pipe, theirs = context.Pipe()
        self._process = context.Process(target=main, args=(theirs,), daemon=True, name="fromnoise-studio")
        self._process.start()
        theirs.close()
        self._outbox = queue.SimpleQueue()
        threading.Thread(target=_speak, args=(pipe, self._outbox), daemon=True).start()
        threading.Thread(target=self._listen, args=(pipe,), daemon=True).start()
        self._next()

    def _listen(self, pipe: Any) -> None:
        try:
            while True:
                self._call(self._heard, *pipe.recv())
        except (EOFError, OSError):
            self._call(self._died)

    def _call(self, function: Any, *args: Any) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed, and so is the studio
            self._loop.call_soon_threadsafe(function, *args)

    def _heard(self, what: str, number: int, value: Any) -> None:
        if what == "ready":
            self.hardware, self._deaths = value, 0
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
        """The worker is gone, most likely ended by the system for lack of memory."""
        if self._closing:
            return
        assert self._loop is not None
        assert self._outbox is not None
        words = "the system ended the computing process, most likely for lack of memory: draw fewer images"
        if self._deaths:
            words = "the computing process ended while starting: see the studio's terminal for the reason"
        self.hardware, self._deaths = "", self._deaths + 1
        self._outbox.put(None)
        self._outbox = None
        lost = [job for job in self._jobs.values() if job.given or job.question]
        # a worker that fails to start is retried with growing pauses
        self._loop.call_later(min(60, 2**self._deaths - 2), self._spawn)
        for job in lost:
            self._end(job, "failed", words)


def _speak(pipe: Any, outbox: "queue.SimpleQueue[Any]") -> None:
    with suppress(OSError):  # the listening thread notices it, too
        while (message := outbox.get()) is not None:
            pipe.send(message)
