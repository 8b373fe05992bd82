"""Feature summaries of samples: computed by all processes together and stored beside the samples."""

import hashlib
import json
import os
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from fromnoise.app.evaluation.parts import Parts
from fromnoise.metrics.features.base import Extractor, Features
from fromnoise.metrics.figures import Summary
from fromnoise.system.disk import claims, files, storage
from fromnoise.system.progress import Bar, warn


def summary_of(parts: Parts, name: str, extractor: Extractor, quiet: bool = False) -> Summary:
    """Return the summary of all parts, which must be drawn already. It is stored, so a second call is cheap.

    Each process extracts the features of some parts, and one joins the features of all parts in order. The summary is
    therefore the same bit for bit for any number of processes.

    Args:
        parts: the samples.
        name, extractor: name of the features, and what extracts them.
        quiet: show no progress bar.
    """
    classes = bool(extractor.classes) and tuple(extractor.classes) == parts.model.denoiser.class_names
    work = _Work(parts, name, extractor, parts.classes() if classes else None)
    work.extract(quiet)
    for _ in claims.shared(parts.folder, [work.summary.name], lambda own: work.is_summarised()):
        work.summarise()
    return Summary.of(storage.read_tensors(work.summary, "summary"))


class _Work:
    """Two folders beside the parts, named by the hash of everything that decides their content: the summary, and
    until that exists, the features of each part."""

    def __init__(self, parts: Parts, name: str, extractor: Extractor, wanted: Tensor | None):
        self.parts, self.extractor, self.wanted = parts, extractor, wanted
        digests = [parts.digest(part) for part in range(len(parts))]
        labels = None if wanted is None else wanted.tolist()
        decides = json.dumps([name, extractor.hash, parts.n, digests, labels])
        key = hashlib.sha256(decides.encode()).hexdigest()[:16]
        self.summary, self.features = (parts.folder / f"{what}-{key}" for what in ("summary", "features"))

    def is_summarised(self) -> bool:
        return _is_whole(self.summary)

    def _place(self, part: int) -> Path:
        return self.features / f"{part:06d}"

    def extract(self, quiet: bool) -> None:
        """Extract the features of every part, unless the summary exists."""
        if self.is_summarised():
            return
        if os.path.lexists(self.summary):
            warn(f"{self.summary}: is damaged and is computed again")
            files.remove(self.summary)
        names = {f"{self.features.name}-{part:06d}": part for part in range(len(self.parts))}

        def done(name: str) -> bool:
            return _is_whole(self._place(names[name])) or os.path.lexists(self.summary)

        with nullcontext() if quiet else Bar("features of the samples", len(self.parts)) as bar:
            for name in claims.shared(self.parts.folder, names, done):
                if bar is not None:
                    bar.advance(max(0, names[name] - bar.done))
                self._extract(names[name])

    def _extract(self, part: int) -> None:
        pixels = next(self.parts.read(range(part, part + 1)))
        with torch.no_grad():
            found = self.extractor(pixels)
        every = {"pool": found.pool, "probabilities": found.probabilities, "spatial": found.spatial}
        tensors = {name: x for name, x in every.items() if x is not None}
        try:
            storage.write_folder(self._place(part), {"features": tensors}, {})
        except OSError:
            if not os.path.lexists(self.summary):  # another process may have made it and removed the features
                raise

    def summarise(self) -> None:
        """Join the features of all parts into the summary, and delete them."""
        whole = Summary(self.parts.n)
        for part in range(len(self.parts)):
            found = storage.read_tensors(self._place(part), "features")
            first, count = part * self.parts.size, len(found["pool"])
            labels = None if self.wanted is None else self.wanted[first : first + count]
            features = Features(found["pool"], found.get("probabilities"), found.get("spatial"))
            whole.add(first, features, labels)
        storage.write_folder(self.summary, {"summary": whole.tensors()}, {})
        files.remove(self.features)


def _is_whole(folder: Path) -> bool:
    try:
        storage.verify_folder(folder)
    except storage.Damaged:
        return False
    return True
