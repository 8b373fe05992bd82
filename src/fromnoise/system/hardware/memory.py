"""How much memory this machine or its container has, checked before memory is taken."""

import math
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from fromnoise.errors import FromNoiseError


def insist_on_memory(size: float, what: str) -> None:
    """Check that `size` bytes fit into memory; `what` names in words what takes them.

    Raises:
        FromNoiseError: if they do not fit.
    """
    limit = memory()
    if size > limit:
        raise FromNoiseError(f"{what} would take {size / 1e9:,.0f} GB of memory, and there are {limit / 1e9:,.0f} GB: "
                             "make it smaller, or set FROMNOISE_MEMORY to the GB that it may take")  # fmt: skip


def memory() -> float:
    """The memory limit in bytes: $FROMNOISE_MEMORY (in GB), else the memory of the machine or its container."""
    if asked := os.environ.get("FROMNOISE_MEMORY"):
        with suppress(ValueError):
            if 0 < (gigabytes := float(asked)) < math.inf:
                return 1e9 * gigabytes
        raise FromNoiseError(f"FROMNOISE_MEMORY must be a number of GB, got {asked!r}")
    return _of_machine()


def half_of_memory() -> int:
    """Half of the limit in bytes, the most to unpack from one file: what is built from it takes as much again."""
    return int(min(memory(), 2**62) / 2)


@cache
def _of_machine() -> float:
    found = [math.inf]
    if hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for place in ("memory.max", "memory/memory.limit_in_bytes"):  # limits of containers, cgroup v2 and v1
        with suppress(OSError, ValueError):  # "max" means no limit
            found.append(float(Path("/sys/fs/cgroup", place).read_text(encoding="ascii")))
    return min(found)
