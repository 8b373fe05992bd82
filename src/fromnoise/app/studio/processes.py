"""Which processes are training. The system is asked, since a recorded process number may have been reused."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files

_LARGEST = 2**31


def holder(run: Path) -> dict[str, Any] | None:
    """The process that is training a run: {"pid", "host", "since"}; None if there is none or it was killed."""
    try:
        found = files.read_json(run / ".holder.json", 10_000)
        here = found["host"] == socket.gethostname()
        return found if not here or _runs(found["pid"]) else None
    except (FromNoiseError, KeyError, TypeError):
        return None


def is_training(process: int, run: Path) -> bool:
    """Whether the process is a training of this run that a studio started."""
    if not _runs(process):
        return False
    wanted = ("fromnoise", "train", "--out", str(run), "--track", "studio")
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        return all(os.fsencode(word) in words for word in wanted)
    except OSError:
        if Path("/proc/self").exists():
            return False
    said = _listed("wmic", "process", "where", f"processid={process}", "get", "commandline") if (
        sys.platform == "win32") else _listed("ps", "-ww", "-p", str(process), "-o", "args=")  # fmt: skip
    return all(word in said for word in wanted)


def _runs(process: object) -> bool:
    if type(process) is not int or not 1 < process < _LARGEST:
        return False
    if sys.platform == "win32":  # on Windows, signal 0 would end the process
        return f" {process} " in _listed("tasklist", "/NH", "/FI", f"PID eq {process}")
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _listed(*words: str) -> str:
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
