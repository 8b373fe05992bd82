"""Samples on the disk in numbered parts, so that a kill loses at most one, and asking again costs nothing."""

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
from fromnoise.system.disk import storage
from fromnoise.system.progress import warn

_TOLD = 500
"""Images that are looked up together, for their classes alone."""


class Parts:
    """Samples 0, 1, ... of one model, sampler and seed: uint8, `size` in a folder.

    The folder's name is the hash of everything that decides the samples; n does not, so that a larger n goes on from a
    smaller one. Each part also holds the seconds and network calls that it took.

    Args:
        parent: folder of all evaluations of a run.
        model, choice, seed: what is sampled.
        n: how many are wanted.
        size: of a part.
    """

    def __init__(self, parent: Path, model: Model, choice: SamplingPlan, seed: int, n: int, size: int = 100):
        self.model, self.choice, self.seed, self.n, self.size = model, choice, seed, n, size
        *before, weights = model.digests()
        decides = {**choice.described(), "seed": seed, "weights": weights, "precision": model.precision, "size": size}
        decides |= {"before": before} if before else {}
        decides |= {"beside": model.beside.content()} if model.beside is not None else {}
        key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = parent / f"samples-{key}"

    def __len__(self) -> int:
        return -(-self.n // self.size)

    def _wanted(self, part: int) -> int:
        return min(self.size, self.n - part * self.size)

    def _place(self, part: int) -> Path:
        return self.folder / f"part-{part:06d}"

    def missing(self) -> list[int]:
        """Parts that are not there, hold too few samples, or are no longer what was written."""
        return [part for part in range(len(self)) if self._rows(part) < self._wanted(part)]

    def _rows(self, part: int) -> int:
        place = self._place(part)
        if not os.path.lexists(place):
            return 0
        try:
            storage.verify_folder(place)
            return int(storage.read_text(place, "about")["n"])
        except (storage.Damaged, KeyError, TypeError, ValueError) as error:
            warn(f"{error}; these samples are drawn again")
            return 0

    def groups(self, batch_size: int) -> list[list[int]]:
        """The missing parts, as many neighbours together as one batch of the network holds."""
        found: list[list[int]] = []
        most = max(1, batch_size // self.size)
        for part in self.missing():
            if found and found[-1][-1] + 1 == part and len(found[-1]) < most:
                found[-1].append(part)
            else:
                found.append([part])
        return found

    def make(self, parts: Sequence[int], batch_size: int, callback: Callable[[Any], None] | None = None) -> None:
        """Sample neighbouring parts together and put each on the disk in one step."""
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
            about = {"n": len(own), "seconds": seconds * len(own) / n, "calls": calls * len(own) // n}
            storage.write_folder(self._place(part), {"pixels": {"pixels": own}}, {"about": about})

    def read(self, parts: range) -> Iterator[tuple[int, Tensor]]:
        """(number of the first sample, pixels) of each part."""
        for part in parts:
            pixels = storage.read_tensors(self._place(part), "pixels")["pixels"]
            yield part * self.size, pixels[: self._wanted(part)]

    def classes(self) -> Tensor | None:
        """The class that each sample was to be, [n]; None for a model that knows none."""
        steered = self.choice.steered(self.model.denoiser)  # a classifier may lend it its classes
        asked = self.choice.cond(steered, self.n) or {}
        if "label" not in asked and self.model.needs_images:  # drawn as the classes of what the network is shown
            told = [self.model.told(range(i, min(i + _TOLD, self.n))) for i in range(0, self.n, _TOLD)]
            asked = {"label": torch.cat([one["label"] for one in told])} if "label" in told[0] else {}
        cond = asked or steered.default_cond(range(self.n))
        return cond["label"] if cond and "label" in cond else None

    def cost(self) -> tuple[float, float]:
        """(seconds of all parts, network calls a sample)."""
        every = [storage.read_text(self._place(part), "about") for part in range(len(self))]
        seconds, calls, rows = (sum(about[key] for about in every) for key in ("seconds", "calls", "n"))
        return seconds, calls / rows
