"""The checkpoints of a run: find, verify, save and remove them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files, in_parts, storage

if TYPE_CHECKING:
    from torch import Tensor

_PREFIX = "step-"


class Peers(Protocol):
    """Processes that act together."""

    rank: int
    world: int

    def of_first(self, number: int, /) -> int:
        """The number that the first process passed, on all processes."""
        ...

    def said(self, text: str, /) -> str:
        """The first text that is not empty, by rank, on all processes."""
        ...


class _Alone:
    rank, world = 0, 1

    def of_first(self, number: int) -> int:
        return number

    def said(self, text: str) -> str:
        return text


@dataclass(frozen=True)
class Checkpoints:
    """A run's `checkpoints` folder, with one sub-folder per checkpoint, named after its step.

    Args:
        folder: the `checkpoints` folder.
        keep: how many of the newest checkpoints `save` keeps, besides the one with the lowest loss.
    """

    folder: Path
    keep: int = 2

    def steps(self) -> list[int]:
        """The steps of all checkpoints in ascending order, damaged ones included."""
        found = (p.name.removeprefix(_PREFIX) for p in self.folder.glob(f"{_PREFIX}*") if p.is_dir())
        return sorted(int(name) for name in found if name.isdigit())

    def path(self, step: int) -> Path:
        return self.folder / f"{_PREFIX}{step:08d}"

    def save(self, step: int, tensors: "Mapping[str, Mapping[str, Tensor]]", texts: Mapping[str, Any]) -> None:
        """Write a checkpoint, then remove those that `keep` no longer covers.

        The best checkpoint has the lowest loss in `texts["state"]`: the held-out loss if it was measured, else the
        training loss.
        """
        files.own_folder(self.folder)
        storage.write_folder(self.path(step), tensors, texts)
        self.let_go()

    def begin(
        self, step: int, tensors: "Mapping[str, Mapping[str, Tensor]]", texts: Mapping[str, Any], group: Any
    ) -> in_parts.Writing:
        """Start a `save` by all processes of a group, each writing its parts while training continues.

        See `in_parts.write`. When it is finished, the first process calls `let_go` to remove older checkpoints.
        """
        files.own_folder(self.folder)
        return in_parts.write(self.path(step), tensors, texts, group)

    def let_go(self) -> None:
        """Remove the checkpoints that `keep` no longer covers."""
        newest = self.steps()
        best = min(newest, key=self._loss)
        for old in newest[: -self.keep]:
            if old != best:
                files.remove(self.path(old))

    def newest_whole(self, warn: Callable[[str], None], peers: Peers | None = None) -> Path | None:
        """The newest checkpoint whose files are intact; None if there is none.

        Args:
            warn: called with one line for each damaged checkpoint.
            peers: processes that all call this: each checks its share of the files, and all get the same answer.

        Raises:
            FromNoiseError: if a process does not see a checkpoint that the first one sees.
        """
        peers, named = peers or _Alone(), set[int]()
        while True:
            step = peers.of_first(max((step for step in self.steps() if step not in named), default=-1))
            if step < 0:
                return None
            place, why = self.path(step), ""
            unseen = "" if peers.world == 1 or step in self.steps() else f"process {peers.rank} does not see {place}"
            if unseen := peers.said(unseen):
                raise FromNoiseError(f"{unseen}: its machine needs the same disk as the first one's")
            try:
                storage.verify_folder(place, slice(peers.rank, None, peers.world))
            except storage.Damaged as error:
                why = str(error)
            why = peers.said(why)
            if not why:
                return place
            if place.is_dir():  # else its trainer has removed it meanwhile, and there are newer ones
                named.add(step)
                warn(f"damaged checkpoint skipped: {why}")

    def _loss(self, step: int) -> float:
        try:
            state = storage.read_text(self.path(step), "state")
            held_out = state.get("validation")
            loss = float(state["loss"] if held_out is None else held_out)
            return loss if loss == loss else math.inf  # NaN compares with nothing, and would stay the best for ever
        except (ValueError, KeyError, TypeError, AttributeError):
            return math.inf
