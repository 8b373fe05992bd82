"""Run a command, and turn every expected failure into one line."""

import contextlib
import errno
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from fromnoise.app.cli._interrupts import after_imports
from fromnoise.app.cli.parsing import parse
from fromnoise.errors import FromNoiseError, printable
from fromnoise.registry import insist_on_numbers


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 (a run had to stop), 2 (bad input), 128 + a signal."""
    # Before torch is loaded: threads that spin while they wait lose half their speed as soon as another process wants a
    # core, and gain nothing otherwise (docs/performance.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # or a lost process makes C++ print stack traces
    try:
        command = parse(list(sys.argv[1:] if arguments is None else arguments))
        for name, value in vars(command).items():
            insist_on_numbers(value, f"--{name.replace('_', '-')}")
        with _warnings_as_lines(), after_imports():
            return command()
    except FromNoiseError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except BrokenPipeError:  # the reader of the output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{(error.strerror or str(error)).lower()}", 1 if full else 2)
    except Exception as error:
        if _out_of_memory(error):
            return _say(f"not enough memory ({str(error) or 'MemoryError'}): {_SMALLER}", 1, of_all=False)
        traceback.print_exc()
        return _say(
            "this is a bug in fromnoise, not in your input: please report it with the lines above", 70, of_all=False
        )


_SMALLER = "lower --batch-size, or use a smaller network or smaller images"


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out; not all of torch's allocators raise an error of a class of its own."""
    said = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in said for word in ("out of memory", "allocate memory"))
    )


def _say(text: str, status: int, of_all: bool = True) -> int:
    """Print one line and return the status; what all processes of a run meet (`of_all`) only the first one prints."""
    if not of_all or os.environ.get("RANK", "0") == "0":
        print(f"fromnoise: {printable(' '.join(text.split()))}", file=sys.stderr)
    return status


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print Python's warnings as our own, each once; not those of decoders about images that they could read."""
    said: set[str] = set()

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        from fromnoise.data.feed import is_grumble  # here, since few commands need it
        from fromnoise.system.progress import warn

        text = " ".join(str(message).split())
        if text not in said and not is_grumble(filename) and os.environ.get("RANK", "0") == "0":
            said.add(text)
            warn(text)

    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before
