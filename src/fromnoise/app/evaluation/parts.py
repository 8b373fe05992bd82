"""Samples on disk in numbered parts, drawn by any number of processes. A killed process loses at most one batch, and
existing samples are not drawn again."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fromnoise.app import runs
from fromnoise.app.runs import Model, SamplingPlan
from fromnoise.system.disk import claims, storage
from fromnoise.system.progress import warn

_TOLD = 500
"""Conditioning images read together when only their classes are needed."""


class Parts:
    """Samples 0, 1, ... of one model, sampling plan and seed, in uint8; each part has `size` samples.

    The folder's name is a hash of everything that decides the samples. n is not part of it, so a larger n extends a
    smaller one. Each part also stores the seconds and network calls that it took.

    Args:
        parent: folder of all evaluations of a run.
        model, choice, seed: what is sampled.
        n: number of samples wanted.
        size: number of samples in a part.
    """

    def __init__(self, parent: Path, model: Model, choice: SamplingPlan, seed: int, n: int, size: int = 100):
        self.model, self.choice, self.seed, self.n, self.size = model, choice, seed, n, size
        *before, weights = model.digests()
        decides = {**choice.described(), "seed": seed, "weights": weights, "precision": model.precision, "size": size}
        decides |= {"before": before} if before else {}
        decides |= {"beside": model.beside.content()} if model.beside is not None else {}
        key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = parent / f"samples-{key}"
        self._named: set[int] = set()

    def __len__(self) -> int:
        return -(-self.n // self.size)

    def _wanted(self, part: int) -> int:
        return min(self.size, self.n - part * self.size)

    def _place(self, part: int) -> Path:
        return self.folder / f"part-{part:06d}"

    def missing(self) -> list[int]:
        """Numbers of parts that do not exist, hold too few samples, or are damaged."""
        return [part for part in range(len(self)) if self._rows(part) < self._wanted(part)]

    def _rows(self, part: int) -> int:
        place = self._place(part)
        if not os.path.lexists(place):
            return 0
        try:
            storage.verify_folder(place)
            return int(storage.read_text(place, "about")["n"])
        except (storage.Damaged, KeyError, TypeError, ValueError) as error:
            if part not in self._named:
                warn(f"{error}; these samples are drawn again")
            self._named.add(part)
            return 0

    def groups(self, batch_size: int) -> list[range]:
        """Groups of adjacent parts that are drawn together, one network batch each, if any of them is missing.

        The grouping does not depend on what is missing: a network's last digits depend on the batch, and samples must
        not depend on which process drew them or on what was lost.
        """
        missing, most = set(self.missing()), max(1, batch_size // self.size)
        every = [range(first, min(first + most, len(self))) for first in range(0, len(self), most)]
        return [group for group in every if not missing.isdisjoint(group)]

    def draw(
        self,
        batch_size: int,
        callback: Callable[[Any], None] | None = None,
        reached: Callable[[int], None] = lambda group: None,
        wait: bool = True,
        todo: Sequence[range] | None = None,
    ) -> None:
        """Draw the missing parts, together with all other processes that do so.

        Each process takes a group that no other is working on, or that of a process that died; see `claims.shared`.

        Args:
            batch_size: number of samples denoised together.
            callback: called with the `Moment` after every step of the sampler.
            reached: called before a group is drawn, with the number of missing groups before it, which are drawn or
                being drawn by others.
            wait: wait until the groups of other processes are drawn, too.
            todo: the result of `groups(batch_size)` if the caller has it already: checking all parts takes time.
        """
        todo = self.groups(batch_size) if todo is None else todo
        groups = {self._place(group[0]).name: group for group in todo}
        order = list(groups)

        def done(name: str) -> bool:
            return all(self._rows(part) >= self._wanted(part) for part in groups[name])

        for name in claims.shared(self.folder, order, done, wait):
            reached(order.index(name))
            self._make(groups[name], batch_size, callback)

    def is_drawn(self) -> bool:
        """Whether every part exists. Only `draw` checks that they are intact and large enough."""
        return all(os.path.lexists(self._place(part)) for part in range(len(self)))

    def _make(self, parts: Sequence[int], batch_size: int, callback: Callable[[Any], None] | None = None) -> None:
        """Sample adjacent parts together, and write each missing one atomically."""
        calls = 0

        def count(module: Any, args: Any, output: Tensor) -> None:
            nonlocal calls
            calls += len(output)

        every = self.model.networks() + ([weaker] if (weaker := self.choice.steering.weaker) is not None else [])
        hooks = [d.network.register_forward_hook(count) for d in every]
        started = time.perf_counter()
        n, first = sum(map(self._wanted, parts)), parts[0] * self.size
        try:
            pixels = runs.draw(self.model, n, self.choice, self.seed, batch_size, first, callback)
        finally:
            for hook in hooks:
                hook.remove()
        seconds = time.perf_counter() - started
        for part, own in zip(parts, pixels.split(self.size), strict=True):
            if self._rows(part) >= len(own):
                continue
            about = {"n": len(own), "seconds": seconds * len(own) / n, "calls": calls * len(own) // n}
            storage.write_folder(self._place(part), {"pixels": {"pixels": own}}, {"about": about})

    def digest(self, part: int) -> str:
        """SHA-256 of a part's samples as written."""
        return storage.digest(self._place(part), "pixels")

    def read(self, parts: range) -> Iterator[Tensor]:
        """Yield the pixels of each part; its first sample has number `part * size`."""
        for part in parts:
            pixels = storage.read_tensors(self._place(part), "pixels")["pixels"]
            yield pixels[: self._wanted(part)]

    def classes(self) -> Tensor | None:
        """The requested class of each sample, [n]; None for a model without classes."""
        steered = self.choice.steered(self.model.denoiser)  # with classifier guidance, the classes are the classifier's
        asked = self.choice.cond(steered, self.n) or {}
        if "label" not in asked and self.model.needs_images:  # the classes are those of the conditioning images
            told = [self.model.told(range(i, min(i + _TOLD, self.n))) for i in range(0, self.n, _TOLD)]
            asked = {"label": torch.cat([one["label"] for one in told])} if "label" in told[0] else {}
        cond = asked or steered.default_cond(range(self.n))
        return cond["label"] if cond and "label" in cond else None

    def cost(self) -> tuple[float, float]:
        """(seconds of all parts, network calls per sample)."""
        every = [storage.read_text(self._place(part), "about") for part in range(len(self))]
        seconds, calls, rows = (sum(about[key] for about in every) for key in ("seconds", "calls", "n"))
        return seconds, calls / rows
