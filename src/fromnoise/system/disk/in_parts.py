"""Folders whose tensors many processes write, each its own part, and any number of processes read: PyTorch's DCP.

A part is a safetensors file STEM-00001-of-00004.safetensors whose header says which slices of the tensors it holds. All
parts are written into one temporary folder, and each process syncs and hashes its own. When the last one is done, the
first process writes the manifest and renames the folder to its final name.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromnoise.system.disk import files, placing, storage

if TYPE_CHECKING:
    import torch.distributed as dist
    from torch import Tensor

_PART = re.compile(r"([a-z_]+)-(\d{5})-of-(\d{5})\.safetensors")

Like = Callable[[str, str, tuple[int, ...]], "Tensor | None"]
"""(stem, name, shape) -> a tensor, sharded or not, to read into; None for a new, whole tensor on the CPU."""


def write(
    target: Path,
    tensors: "Mapping[str, Mapping[str, Tensor]]",
    texts: Mapping[str, Any],
    group: "dist.ProcessGroup",
) -> "Writing":
    """Start to write `target`, replacing what is there, and return at once; all processes of the group must call this.

    Args:
        target: the folder, on a file system that all processes share.
        tensors: file stem -> tensors by name: DTensors, and tensors that are the same on all processes. They are copied
            before this returns.
        texts: file stem -> JSON value, saved as STEM.json by the first process.
        group: a process group on the CPU (gloo) that nothing else uses: a background thread communicates through it.

    Returns:
        A handle whose `finish` waits until the folder is in its place.
    """
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint import DefaultSavePlanner

    from fromnoise.system.disk.parts_writer import PartsWriter

    state = {f"{stem}/{name}": value.detach() for stem, named in tensors.items() for name, value in named.items()}

    def done(written: dict[str, dict[str, Any]]) -> None:
        storage.write_texts(writing, texts)
        placing.complete(writing, target, written)

    writing = target.with_name(f"{files.WRITING}{target.name}")
    writer = PartsWriter(writing, lambda: _fresh(writing), done)
    planner = DefaultSavePlanner(enable_plan_caching=False)
    saving: Any = dcp.async_save(state, storage_writer=writer, planner=planner, process_group=group)
    return Writing(saving, writing if dist.get_rank(group) == 0 else None)


def _fresh(writing: Path) -> None:
    files.remove(writing)  # left behind by a killed process
    writing.parent.mkdir(parents=True, exist_ok=True)
    writing.mkdir()


@dataclass(frozen=True)
class Writing:
    """A folder that is being written.

    Attributes:
        future: completes when this process has written its part.
        unfinished: the temporary folder, on the process that removes it if writing fails; None on the others.
    """

    future: "Future[None]"
    unfinished: Path | None

    def finish(self) -> None:
        """Wait until the folder is in its place.

        Raises:
            OSError: if the disk of any process is full or fails; the old folder stays intact.
            RuntimeError: if another process is gone.
        """
        from torch.distributed.checkpoint.api import CheckpointException  # a BaseException that `Exception` misses

        try:
            self.future.result()
        except (Exception, CheckpointException) as error:
            if self.unfinished is not None and isinstance(error, CheckpointException):  # all have stopped
                files.remove(self.unfinished)
            found = _system_error(error)
            if found is None:
                raise RuntimeError(f"a checkpoint could not be written: {error}") from None
            raise OSError(found.errno, found.strerror, found.filename) from None


def _system_error(error: BaseException) -> OSError | None:
    """The operating system's error inside an exception of DCP, from whichever process met it; else None."""
    failures = getattr(error, "failures", {})
    for one in (error, *(failed[0] for failed in failures.values())):
        if isinstance(one, OSError):
            return one
    return None


def are_in_parts(names: "set[str]") -> bool:
    """Whether a folder with these file names was written in parts."""
    return any(_PART.fullmatch(name) for name in names)


def read(folder: Path, stem: str) -> "dict[str, Tensor]":
    """Read the tensors of a stem, whole and on the CPU. Raises Damaged."""
    return read_all(folder, lambda *about: None, only=stem)[stem]


def read_all(
    folder: Path, like: Like, group: "dist.ProcessGroup | None" = None, only: str | None = None
) -> "dict[str, dict[str, Tensor]]":
    """Read tensors by stem and name; each process reads only the slices that its own tensors hold.

    Args:
        folder: a folder from `write`, made by any number of processes.
        like: returns the tensor to read into.
        group: the processes that all call this; None if this process reads alone.
        only: read only this stem; None for all.

    Raises:
        Damaged: if a part is missing or cannot be read.
    """
    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint import DefaultLoadPlanner
    from torch.distributed.checkpoint.api import CheckpointException

    from fromnoise.system.disk.parts_writer import reader

    names = _complete(folder, storage.manifest(folder))
    try:
        for name in names:
            files.opened(folder / name).close()
        about: Any = reader(folder, names).read_metadata().state_dict_metadata
        state: dict[str, Any] = {}
        for key, one in about.items():
            stem, _, name = key.partition("/")
            if only not in (None, stem):
                continue
            shape = tuple(one.size)
            if sum(chunk.sizes.numel() for chunk in one.chunks) != one.size.numel():
                raise storage.Damaged(f"{folder}: a part of {name} of {stem} is missing")
            found = like(stem, name, shape)
            state[key] = torch.empty(shape, dtype=one.properties.dtype) if found is None else found
        with warnings.catch_warnings():  # DCP warns that it reads without a group
            warnings.simplefilter("ignore", UserWarning)
            dcp.load(state, storage_reader=reader(folder, names), planner=DefaultLoadPlanner(), process_group=group,
                     no_dist=group is None)  # fmt: skip
    except storage.Damaged:
        raise
    except (Exception, CheckpointException) as error:  # from DCP, safetensors or the disk
        why = files.one_line(getattr(_system_error(error), "strerror", None) or error)
        raise storage.Damaged(f"{folder}: its parts cannot be read ({why[:200]})") from None
    result: dict[str, dict[str, Tensor]] = {} if only is None else {only: {}}
    for key, value in state.items():
        stem, _, name = key.partition("/")
        result.setdefault(stem, {})[name] = value
    return result


def _complete(folder: Path, names: "set[str]") -> list[str]:
    """The parts among these files. Raises Damaged if a stem lacks one."""
    by_stem: dict[str, dict[int, set[int]]] = {}
    for name in names:
        if found := _PART.fullmatch(name):
            by_stem.setdefault(found[1], {}).setdefault(int(found[3]), set()).add(int(found[2]))
    for stem, of in by_stem.items():
        if len(of) != 1 or any(numbers != set(range(1, total + 1)) for total, numbers in of.items()):
            raise storage.Damaged(f"{folder}: a part of {stem} is missing")
    return sorted(name for name in names if _PART.fullmatch(name))
