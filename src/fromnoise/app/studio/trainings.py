"""Trainings: processes of their own, found again by what lies beside their runs."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fromnoise.app.studio.asking import written
from fromnoise.app.studio.shelf import Shelf
from fromnoise.app.tracking.studio import FOLDER
from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

_TRACK = ("--track", "studio")


@dataclass(frozen=True)
class Record:
    """A training that was asked for here.

    Attributes:
        name: of the run.
        arguments: of `fromnoise train`, without --resume.
        state: waiting, going, paused or stopped, as the page asked; what the process does is looked up.
        process: its number, once it was started.
    """

    name: str
    arguments: list[str]
    state: str = "waiting"
    process: int = 0
    asked: float = field(default_factory=time.time)


class Trainings:
    """All trainings of the chosen folder, one going at a time.

    Args:
        shelf: the runs.
    """

    def __init__(self, shelf: Shelf):
        self.shelf = shelf
        self.folder = shelf.root / FOLDER
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._records = self._read()
        for record in list(self._records.values()):
            if record.state == "waiting":  # of a studio that ended; who wants it presses resume
                self._write(replace(record, state="paused"))

    def start(self, name: str, arguments: list[str]) -> None:
        """Begin a run, or have it wait for the one that is going.

        Raises:
            FromNoiseError: the name is taken or none.
        """
        self.shelf.new(name)
        if name in self._records and self.state(name) in ("going", "waiting"):
            raise FromNoiseError(f"name: {name} is being trained already; take another")
        self._write(Record(name, arguments))
        self.tick()

    def pause(self, name: str, state: str = "paused") -> None:
        """End its process, which leaves a checkpoint; `resume` goes on from exactly there.

        Raises:
            FromNoiseError: it is not being trained by a studio.
        """
        record = self._record(name)
        if self.state(name) == "waiting":
            self._write(replace(record, state=state))
            return
        if not self._alive(record):
            raise FromNoiseError(f"{name} is not being trained just now")
        self._write(replace(record, state=state))
        with suppress(ProcessLookupError):
            os.kill(record.process, signal.SIGTERM)

    def resume(self, name: str, more: Mapping[str, float] | None = None) -> None:
        """Go on where it ended, as soon as no other is going.

        Args:
            name: of a run, begun here or elsewhere.
            more: {"minutes": m} or {"steps": n} that it shall have in all.

        Raises:
            FromNoiseError: it is being trained.
        """
        found = self.shelf.get(name)
        record = self._records.get(name)
        if record is None:
            from fromnoise.app.runs.config import read_any

            record = Record(name, [read_any(found.path).recipe, "--out", str(found.path)])
        if self._alive(record) or holder(found.path):
            raise FromNoiseError(f"{name} is being trained already")
        arguments = list(record.arguments)
        for key, value in (more or {}).items():
            arguments = [*_without(arguments, f"--{key}"), f"--{key}", written(value)]
        self._write(replace(record, arguments=arguments, state="waiting", asked=time.time()))
        self.tick()

    def tick(self) -> None:
        """Start what waits, once nothing is going."""
        for name, child in list(self._children.items()):
            if child.poll() is not None:
                del self._children[name]
        if any(self._alive(record) for record in self._records.values()):
            return
        waiting = sorted((r for r in self._records.values() if r.state == "waiting"), key=lambda r: r.asked)
        if waiting:
            self._begin(waiting[0])

    def state(self, name: str) -> str:
        """going, waiting, pausing, paused, stopped, ended or failed; "" for a run that no studio began."""
        record = self._records.get(name)
        if record is None:
            return ""
        if self._alive(record):
            return "going" if record.state == "going" else "pausing"
        if record.state == "going":
            return "failed" if self.words(name)[-1:] and _is_error(self.words(name)[-1]) else "ended"
        return record.state

    def names(self) -> list[str]:
        """Of all that were asked for, those that wait included."""
        return list(self._records)

    def words(self, name: str, lines: int = 12) -> list[str]:
        """The last lines that the process said."""
        if name not in self._records:
            return []
        with suppress(FromNoiseError):
            text = files.read_bytes(self._log(name), 16 * 2**20).decode(errors="replace")
            return [line for line in text.splitlines() if line.strip()][-lines:]
        return []

    def _begin(self, record: Record) -> None:
        files.own_folder(self.folder)
        resumed = self.shelf.root / record.name
        arguments = [*record.arguments, *(["--resume"] if os.path.lexists(resumed) else [])]
        with files.appending(self._log(record.name)) as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "fromnoise", "train", *arguments, *_TRACK],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children[record.name] = child
        self._write(replace(record, state="going", process=child.pid))

    def _alive(self, record: Record) -> bool:
        if not record.process:
            return False
        child = self._children.get(record.name)
        if child is not None and child.pid == record.process:
            return child.poll() is None
        return _runs(record.process) and _is_ours(record.process)

    def _record(self, name: str) -> Record:
        if name not in self._records:
            raise FromNoiseError(f"{name}: was not begun in a studio; stop it where it was begun, by Ctrl-C")
        return self._records[name]

    def _log(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '-')}.log"

    def _write(self, record: Record) -> None:
        self._records[record.name] = record
        files.own_folder(self.folder)
        files.write_json(self.folder / "trainings.json", [asdict(one) for one in self._records.values()])

    def _read(self) -> dict[str, Record]:
        try:
            found = [Record(**one) for one in files.read_json(self.folder / "trainings.json")]
            return {one.name: one for one in found}
        except (FromNoiseError, TypeError):
            return {}


def holder(run: Path) -> dict[str, Any] | None:
    """Who trains a run just now: {"pid", "host", "since"}; None for nobody, or somebody who was killed."""
    try:
        found = files.read_json(run / ".holder.json", 10_000)
        return found if found["host"] != socket.gethostname() or _runs(int(found["pid"])) else None
    except (FromNoiseError, KeyError, TypeError, ValueError):
        return None


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_ours(process: int) -> bool:
    """Whether a process of that number, which another studio began, is a training still: numbers are used again."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        return all(word.encode() in words for word in ("fromnoise", *_TRACK))
    except OSError:
        return not Path("/proc/self").exists()


def _without(arguments: list[str], option: str) -> list[str]:
    if option not in arguments:
        return arguments
    at = arguments.index(option)
    return arguments[:at] + arguments[at + 2 :]


def _is_error(line: str) -> bool:
    return line.startswith("fromnoise: ") and not line.startswith("fromnoise: warning")
