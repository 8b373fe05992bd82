"""What this machine, or its container, has room for: asked before memory is taken."""

import math
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from fromnoise.errors import FromNoiseError


def insist_on_memory(size: float, what: str) -> None:
    """That a number of bytes fits into memory.

    Raises:
        FromNoiseError: it does not; `what` is what takes them, in words.
    """
    limit = memory()
    if size > limit:
        raise FromNoiseError(f"{what} would take {size / 1e9:,.0f} GB of memory, and here are {limit / 1e9:,.0f} GB: "
                             "make it smaller, or set FROMNOISE_MEMORY to the GB that it may take")  # fmt: skip


def memory() -> float:
    """Bytes: $FROMNOISE_MEMORY in GB, else what the machine has, of which a container may have a part."""
    if asked := os.environ.get("FROMNOISE_MEMORY"):
        with suppress(ValueError):
            if 0 < (gigabytes := float(asked)) < math.inf:
                return 1e9 * gigabytes
        raise FromNoiseError(f"FROMNOISE_MEMORY must be a number of GB, got {asked!r}")
    return _of_machine()


def half_of_memory() -> int:
    """Bytes; more is not unpacked from one file, since what is made of it takes as much again."""
    return int(min(memory(), 2**62) / 2)


@cache
def _of_machine() -> float:
    found = [math.inf]
    if hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for place in ("memory.max", "memory/memory.limit_in_bytes"):  # of containers, new and old
        with suppress(OSError, ValueError):  # "max" is no number
            found.append(float(Path("/sys/fs/cgroup", place).read_text(encoding="ascii")))
    return min(found)
