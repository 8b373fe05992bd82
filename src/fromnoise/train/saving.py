"""Save the checkpoints of a training and resume from them: as a whole, or in parts if the weights are sharded."""

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
from fromnoise.train.progress import Progress
from fromnoise.train.task import Task
from fromnoise.train.trained import Trained
from fromnoise.weights.checkpoint import Checkpoints


class Saving:
    """The checkpoints of a run.

    Args:
        checkpoints: the folder of checkpoints.
        task, trained: the objects whose state is saved.
        notes: JSON values to store in each checkpoint, as NAME.json.
        processes: the processes of the run. All of them read; with sharding all write, otherwise only the first one.
        say: shows a line to the user.
    """

    def __init__(
        self, checkpoints: Checkpoints, task: Task, trained: Trained, notes: Mapping[str, Any], processes: Processes,
        say: Callable[[str], None],
    ):  # fmt: skip
        self.checkpoints, self.task, self.ema, self.optimizer = checkpoints, task, trained.ema, trained.optimizer
        tied = dict(task.network.named_parameters(remove_duplicate=False))
        self.weights = trained.every | tied  # by each of its names
        self.notes, self.processes, self.say = notes, processes, say
        self.sharding = sharding = trained.sharding
        self.network = task.network if sharding is None else sharding.blank
        self.written = 0
        """The step of the last complete checkpoint."""
        self._writing: tuple[int, in_parts.Writing] | None = None
        if sharding is not None:
            insist_on_one_disk(checkpoints.folder, processes)

    def resume(self, folder: Path | None) -> tuple[Progress, dict[str, Any] | None] | None:
        """Load the newest intact checkpoint: (its progress, the mark of the log); None if there is no checkpoint.

        Raises:
            FromNoiseError: all checkpoints are damaged, or they belong to another model or other data.
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
        """All tensors of a checkpoint, sharded like the weights."""
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
        if why := self.processes.said(why):  # each process has read only its part
            raise FromNoiseError(why)
        return state

    def _owner(self, name: str, shape: tuple[int, ...]) -> nn.Parameter | None:
        """The parameter that a tensor "NAME", or an optimiser's tensor "KEY.NAME", of a checkpoint belongs to."""
        own = self.weights.get(name) if name in self.weights else self.weights.get(name.partition(".")[2])
        return own if own is not None and tuple(own.shape) == shape else None

    def _blank(self, stem: str, name: str, shape: tuple[int, ...]) -> Tensor | None:
        own = self._owner(name, shape)
        return None if own is None else torch.empty_like(own.detach())

    def _cut(self, name: str, whole: Tensor) -> Tensor:
        own = self._owner(name, tuple(whole.shape))
        return whole if own is None or self.sharding is None else self.sharding.like(own, whole)

    def _described(self) -> dict[str, Any]:
        """The task's description, with its own network instead of a wrapper."""
        called, self.task.network = self.task.network, self.network
        try:
            return self.task.describe()
        finally:
            self.task.network = called

    def save(self, progress: Progress, mark: dict[str, Any], last: bool) -> None:
        """Save a checkpoint. With sharding, it is written while training continues, unless it is the last one.

        Args:
            progress: the progress of the training.
            mark: the mark of the log.
            last: whether this is the last checkpoint.

        Raises:
            OSError: the disk is full or fails; perhaps while the previous checkpoint was still being written.
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
        """Wait for the checkpoint that is being written; raises the errors of `save`."""
        if self._writing is None:
            return
        (step, writing), self._writing = self._writing, None
        writing.finish()
        self.written = step
        if self.processes.is_first:
            self.checkpoints.let_go()


def insist_on_one_disk(folder: Path, processes: Processes) -> None:
    """Check that all processes see the first one's files, since each will write its part of a checkpoint.

    This is checked before the first step, not only at the first checkpoint.

    Raises:
        FromNoiseError: a process does not see them.
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
        raise FromNoiseError(f"{why}: put the folder on a disk that all machines share, since each writes its part")
