"""Trainings: separate processes, found again after a restart through a record beside the runs."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fromnoise.app.studio import asking, processes
from fromnoise.app.studio.shelf import Shelf, within
from fromnoise.app.tracking.studio import FOLDER
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, lines

_TRACK = ("--track", "studio")
_STATES = ("waiting", "going", "paused", "stopped", "ended", "failed")
_END = 2**16


@dataclass(frozen=True)
class Record:
    """A training that was requested in this studio.

    Attributes:
        name: name of the run.
        asked: the page's request. The command is made from it at every start and never read from a file. Empty for a
            run that was begun elsewhere.
        more: the new total length, {"minutes": m} or {"steps": n}.
        state: waiting, going, paused or stopped, as the page requested; ended or failed after its process ended.
        process: the process number, once started.
        since: when it was requested.
        why: why it failed.
    """

    name: str
    asked: dict[str, Any] = field(default_factory=dict)
    more: dict[str, float] = field(default_factory=dict)
    state: str = "waiting"
    process: int = 0
    since: float = field(default_factory=time.time)
    why: str = ""


class Trainings:
    """All trainings of the chosen folder; one runs at a time.

    Args:
        shelf: the runs.
        folder: maps the name of an image folder to its path.
    """

    def __init__(self, shelf: Shelf, folder: Callable[[object], Path]):
        self.shelf, self.images = shelf, folder
        self.folder = shelf.root / FOLDER
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.RLock()
        self._records = self._read()
        for record in list(self._records.values()):
            if record.state == "waiting":  # left by an earlier studio; the user can resume it
                self._write(replace(record, state="paused"))

    def start(self, asked: Mapping[str, Any]) -> str:
        """Start a run, or queue it behind the current one; returns its name.

        Raises:
            FromNoiseError: if the name is taken or invalid, or another value is.
        """
        name = str(asked.get("name", ""))
        with self._lock:
            if self.state(name) in ("going", "waiting", "pausing"):
                raise FromNoiseError(f"name: {name} is being trained already; choose another")
            asking.training(asked, self.shelf.new(name), self.shelf, self.images)
            self._write(Record(name, dict(asked)))
            self.tick()
        return name

    def pause(self, name: str, state: str = "paused") -> None:
        """End the training process, which saves a checkpoint; `resume` continues exactly from there.

        Raises:
            FromNoiseError: if the run is not being trained by a studio.
        """
        with self._lock:
            record = self._records.get(name)
            if record is None:
                raise FromNoiseError(f"{name}: was not started in a studio; stop it where it was started, with Ctrl-C")
            if record.state != "waiting" and not self._alive(record):
                raise FromNoiseError(f"{name} is not being trained at the moment")
            if record.state == "going":
                with suppress(ProcessLookupError):
                    os.kill(record.process, signal.SIGTERM)
            self._write(replace(record, state=state))

    def resume(self, name: str, more: Mapping[str, float] | None = None) -> None:
        """Resume a run, or start one that never began, as soon as no other is running.

        Args:
            name: name of a run, started here or elsewhere.
            more: the new total length, {"minutes": m} or {"steps": n}.

        Raises:
            FromNoiseError: if there is no such run, or it is being trained.
        """
        with self._lock:
            record = self._records.get(name)
            if record is None or not record.asked:
                if not self.shelf.get(name).is_run:
                    raise FromNoiseError(f"{name} is a saved model and cannot be trained further: choose a run")
                record = record or Record(name)
            if self._alive(record) or processes.holder(self._path(name)):
                raise FromNoiseError(f"{name} is being trained already")
            more = record.more | dict(more or {})
            self._write(replace(record, more=more, state="waiting", since=time.time(), process=0, why=""))
            self.tick()

    def tick(self) -> None:
        """Record trainings that ended, and start the next waiting one if none is running."""
        with self._lock:
            for record in list(self._records.values()):
                if record.state == "going" and not self._alive(record):
                    self._write(self._ended(record))
            going = [r for r in self._records.values() if self._alive(r)]
            waiting = [r for r in self._records.values() if r.state == "waiting"]
            if waiting and not going:
                self._begin(min(waiting, key=lambda r: r.since))

    def state(self, name: str) -> str:
        """going, waiting, pausing, paused, stopped, ended or failed; "" for a run that no studio started."""
        record = self._records.get(name)
        if record is None:
            return ""
        if self._alive(record):
            return "going" if record.state == "going" else "pausing"
        return self._ended(record).state if record.state == "going" else record.state

    def names(self) -> list[str]:
        """Names of all requested runs, including waiting ones, except finished ones whose folder was deleted."""
        return [n for n, r in list(self._records.items()) if r.state != "ended" or os.path.lexists(self._path(n))]

    def words(self, name: str, lines: int = 12) -> list[str]:
        """The last lines of the process's output, and why it failed."""
        record, log = self._records.get(name), self._log(name)
        if record is None:
            return []
        text = ""
        with suppress(FromNoiseError, OSError):
            if within(self.folder, log.name):
                with files.opened(log) as file:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - _END))
                    text = file.read(_END).decode(errors="replace")
        return [line for line in (*text.splitlines(), record.why) if line.strip()][-lines:]

    def _begin(self, record: Record) -> None:
        """Start the process. If it cannot start, the training is recorded as failed, so that the next one can run."""
        try:
            arguments = self._arguments(record)
            files.own_folder(self.folder)
            with lines.appending(self._log(record.name)) as log:
                child = subprocess.Popen(
                    [sys.executable, "-m", "fromnoise", "train", *arguments, *_TRACK],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except (FromNoiseError, OSError, ValueError) as error:
            self._write(replace(record, state="failed", process=0, why=f"fromnoise: {files.one_line(error)}"))
            return
        self._children[record.name] = child
        self._write(replace(record, state="going", process=child.pid))

    def _arguments(self, record: Record) -> list[str]:
        path, asked = self._path(record.name), {**record.asked, **record.more}
        begun = os.path.lexists(path)
        try:
            if not record.asked:
                raise FromNoiseError("begun elsewhere")
            words = asking.training(asked, path, self.shelf, self.images)
        except FromNoiseError:  # the images or the teacher are gone; the run has its own configuration
            if not begun:
                raise
            from fromnoise.app.runs.config import read_any

            longer = [part for key, value in record.more.items() for part in (f"--{key}", asking.written(value))]
            words = [read_any(path).recipe, "--out", str(path), *longer]
        return [*words, *(["--resume"] if begun else [])]

    def _ended(self, record: Record) -> Record:
        """Return the record of a process that has ended, with how it ended."""
        child = self._children.get(record.name)
        status = child.poll() if child is not None and child.pid == record.process else None
        stopped = (130, 143, -signal.SIGTERM, -signal.SIGINT)  # stopped from outside, with a checkpoint
        if status is not None and status < 0 and status not in stopped:
            why = f"fromnoise: ended by signal {-status}, most likely for lack of memory; the run can be resumed"
            return replace(record, state="failed", why=why)
        if status is None:  # started by an earlier studio: only its last line of output is known
            said = self.words(record.name, 1)
            status = int(bool(said) and said[-1].startswith("fromnoise: ") and "warning" not in said[-1][:19])
        return replace(record, state="stopped" if status in stopped else "failed" if status else "ended")

    def _alive(self, record: Record) -> bool:
        if not record.process:
            return False
        child = self._children.get(record.name)
        if child is not None and child.pid == record.process:
            return child.poll() is None
        return processes.is_training(record.process, self._path(record.name))

    def _path(self, name: str) -> Path:
        return self.shelf.root if self.shelf.is_one and name == self.shelf.root.name else self.shelf.place(name)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '+')}.log"

    def _write(self, record: Record) -> None:
        self._records[record.name] = record
        files.own_folder(self.folder)
        files.write_json(self.folder / "trainings.json", [asdict(one) for one in self._records.values()])

    def _read(self) -> dict[str, Record]:
        """Read the records. They are validated, since the folder may come from someone else."""
        try:
            found = files.read_json(self.folder / "trainings.json", 2**24)
            records = [Record(**one) for one in found if isinstance(one, dict)]
            known = {one.name: one for one in records if self._is_good(one)}
        except (FromNoiseError, TypeError):
            return {}
        return known

    def _is_good(self, one: Record) -> bool:
        kinds = {"name": str, "asked": dict, "more": dict, "state": str, "process": int, "since": float, "why": str}
        if not all(isinstance(getattr(one, name), kind) for name, kind in kinds.items()) or one.state not in _STATES:
            return False
        try:
            self._path(one.name)
            asking.longer(one.more)
        except FromNoiseError:
            return False
        return set(one.more) <= {"minutes", "steps"}
