"""The checkpoints of a run: which are there, which are whole, which are kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromnoise.system.disk import files, storage

if TYPE_CHECKING:
    from torch import Tensor

_PREFIX = "step-"


@dataclass(frozen=True)
class Checkpoints:
    """A run's `checkpoints` folder, one sub-folder for each, named after its step.

    Args:
        folder: where they are.
        keep: newest ones that survive `save`, beside the one with the lowest loss.
    """

    folder: Path
    keep: int = 2

    def steps(self) -> list[int]:
        """The steps of all checkpoints, ascending, whole or not."""
        found = (p.name.removeprefix(_PREFIX) for p in self.folder.glob(f"{_PREFIX}*") if p.is_dir())
        return sorted(int(name) for name in found if name.isdigit())

    def path(self, step: int) -> Path:
        return self.folder / f"{_PREFIX}{step:08d}"

    def save(self, step: int, tensors: "Mapping[str, Mapping[str, Tensor]]", texts: Mapping[str, Any]) -> None:
        """Write one, then let go of those that `keep` no longer holds.

        The best has the lowest loss in `texts["state"]`: of held-out examples where it was measured, else of training.
        """
        files.own_folder(self.folder)
        storage.write_folder(self.path(step), tensors, texts)
        newest = self.steps()
        best = min(newest, key=self._loss)
        for old in newest[: -self.keep]:
            if old != best:
                files.remove(self.path(old))

    def newest_whole(self, warn: Callable[[str], None]) -> Path | None:
        """The newest checkpoint whose files are as they were written; `warn` is told of those that are not."""
        named: set[int] = set()
        while left := [step for step in self.steps() if step not in named]:
            place = self.path(left[-1])
            try:
                storage.verify_folder(place)
            except storage.Damaged as error:
                if place.is_dir():  # else its trainer let go of it meanwhile, and there are newer ones
                    named.add(left[-1])
                    warn(f"damaged checkpoint left aside: {error}")
                continue
            return place
        return None

    def _loss(self, step: int) -> float:
        try:
            state = storage.read_text(self.path(step), "state")
            held_out = state.get("validation")
            return float(state["loss"] if held_out is None else held_out)
        except (ValueError, KeyError, TypeError, AttributeError):
            return float("inf")
