"""What a checkpoint of a training holds, and going on from one: whole, or in parts where the weights are sharded."""

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, in_parts, placing, storage
from fromnoise.train import suitable
from fromnoise.train.distributed import Processes
from fromnoise.train.ema import EMA
from fromnoise.train.optimizers.base import Optimizer
from fromnoise.train.progress import Progress
from fromnoise.train.sharding import Sharding
from fromnoise.train.task import Task
from fromnoise.weights.checkpoint import Checkpoints


class Saving:
    """The checkpoints of a run.

    Args:
        checkpoints: where they are.
        task, ema, optimizer: whose state they hold.
        weights: all parameters by name.
        notes: JSON values that each holds, as NAME.json.
        processes: which all read, and write where weights are sharded; else the first one writes.
        sharding: of the weights; None where each process has all of them.
        say: tells a line.
    """

    def __init__(
        self, checkpoints: Checkpoints, task: Task, ema: EMA, optimizer: Optimizer, weights: dict[str, nn.Parameter],
        notes: Mapping[str, Any], processes: Processes, sharding: Sharding | None, say: Callable[[str], None],
    ):  # fmt: skip
        self.checkpoints, self.task, self.ema, self.optimizer = checkpoints, task, ema, optimizer
        self.weights = weights | dict(task.network.named_parameters(remove_duplicate=False))  # tied ones by every name
        self.notes, self.processes, self.sharding, self.say = notes, processes, sharding, say
        self.network = task.network if sharding is None else sharding.blank
        self.written = 0
        """The step of the last one that is whole."""
        self._writing: tuple[int, in_parts.Writing] | None = None
        if sharding is not None:
            insist_on_one_disk(checkpoints.folder, processes)

    def resume(self, folder: Path | None) -> tuple[Progress, dict[str, Any] | None] | None:
        """Go on with the newest whole checkpoint: how far it is, and the mark of the log; None where there is none.

        Raises:
            FromNoiseError: there are checkpoints and all are damaged, or they are of another model.
        """
        if self.processes.is_first:
            placing.clean_up(self.checkpoints.folder)
        found = self.checkpoints.newest_whole(self.say, self.processes)
        if found is None:
            if self.checkpoints.steps():
                raise FromNoiseError(f"{folder}: every checkpoint is damaged; train again into another folder")
            return None
        suitable.insist_on_the_same(found, self._described(), self.notes)
        progress = Progress.of(storage.read_text(found, "state"), found)
        mark = storage.read_text(found, "log") if storage.holds(found, "log") else None
        try:
            state = self._read(found)
            self.task.load({stem: state[stem] for stem in self.task.tensors()})
            self.ema.load(state["ema"])
            self.optimizer.load(state["optimizer"])
        except (RuntimeError, KeyError) as error:
            why = str(error) if isinstance(error, KeyError) else str(error).splitlines()[-1].strip()
            raise FromNoiseError(
                f"{found} is of another network than this run's ({why}): name another folder"
            ) from None
        self.written = progress.step
        return progress, mark

    def _read(self, found: Path) -> dict[str, dict[str, Tensor]]:
        """All tensors, cut as the weights are."""
        stems = [*self.task.tensors(), "ema", "optimizer"]
        if self.sharding is None or not in_parts.are_in_parts(storage.manifest(found)):
            state = {stem: storage.read_tensors(found, stem) for stem in stems}
            if self.sharding is not None:
                state = {stem: {k: self._cut(k, v) for k, v in named.items()} for stem, named in state.items()}
        else:
            state = in_parts.read_all(found, self._blank, self.processes.writers)
            state = {stem: state.get(stem, {}) for stem in stems}
        why = ""
        try:
            for stem, named in state.items():
                suitable.insist_on_finite(found, stem, named)
        except FromNoiseError as error:
            why = str(error)
        if why := self.processes.said(why):  # each has read its part alone
            raise FromNoiseError(why)
        return state

    def _owner(self, name: str, shape: tuple[int, ...]) -> nn.Parameter | None:
        """The parameter that a tensor of a checkpoint belongs to: "NAME", or "KEY.NAME" of an optimiser."""
        own = self.weights.get(name) if name in self.weights else self.weights.get(name.partition(".")[2])
        return own if own is not None and tuple(own.shape) == shape else None

    def _blank(self, stem: str, name: str, shape: tuple[int, ...]) -> Tensor | None:
        own = self._owner(name, shape)
        return None if own is None else torch.empty_like(own.detach())

    def _cut(self, name: str, whole: Tensor) -> Tensor:
        own = self._owner(name, tuple(whole.shape))
        return whole if own is None or self.sharding is None else self.sharding.like(own, whole)

    def _described(self) -> dict[str, Any]:
        """What files say of the task with its own network, and not with a wrapper of it."""
        called, self.task.network = self.task.network, self.network
        try:
            return self.task.describe()
        finally:
            self.task.network = called

    def save(self, progress: Progress, mark: dict[str, Any], last: bool) -> None:
        """Write one; where weights are sharded, while training goes on, unless it is the last.

        Args:
            progress: how far the training is.
            mark: of the log.
            last: whether nothing comes after it.

        Raises:
            OSError: the disk is full, or fails; also of the one before, which was still being written.
        """
        if self.sharding is None and not self.processes.is_first:
            return
        tensors = self.task.tensors() | {"ema": self.ema.state(), "optimizer": self.optimizer.state()}
        texts = {**self._described(), **self.notes, "log": mark, "state": dict(vars(progress))}
        if self.sharding is None:
            self.checkpoints.save(progress.step, tensors, texts)
            self.written = progress.step
            return
        self.finish()
        self._writing = progress.step, self.checkpoints.begin(progress.step, tensors, texts, self.processes.writers)
        if last:
            self.finish()

    def finish(self) -> None:
        """Wait for what is being written; raises as `save`."""
        if self._writing is None:
            return
        (step, writing), self._writing = self._writing, None
        writing.finish()
        self.written = step
        if self.processes.is_first:
            self.checkpoints.let_go()


def insist_on_one_disk(folder: Path, processes: Processes) -> None:
    """That all see what the first one writes, since each is to write its part: before the first step, and not at the
    first checkpoint.

    Raises:
        FromNoiseError: one does not.
    """
    mark = processes.of_first(secrets.randbits(48))
    if processes.is_first:
        files.own_folder(folder)
        (folder / f"{files.WRITING}{mark}").mkdir()
    processes.wait()
    seen = f"{files.WRITING}{mark}" in {path.name for path in folder.glob(f"{files.WRITING}*")}
    why = "" if seen else f"process {processes.rank} of this run does not see what the first one writes into {folder}"
    why = processes.said(why)
    if processes.is_first:
        (folder / f"{files.WRITING}{mark}").rmdir()
    if why:
        raise FromNoiseError(f"{why}: its machine needs the same disk, where each writes its part of the weights")
