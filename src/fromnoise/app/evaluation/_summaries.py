"""What the metrics keep of samples: found by all processes together, and kept beside the samples."""

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
    """The summary of all parts, which are drawn. It is kept: asking again extracts nothing.

    Of all processes that ask, each extracts the features of some parts, and one joins those of all parts, in their
    order. So the summary is the same, to the last bit, however many there are.

    Args:
        name, extractor: of the features.
        quiet: no bar.
    """
    classes = bool(extractor.classes) and tuple(extractor.classes) == parts.model.denoiser.class_names
    work = _Work(parts, name, extractor, parts.classes() if classes else None)
    work.extract(quiet)
    for _ in claims.shared(parts.folder, [work.summary.name], lambda own: work.is_summarised()):
        work.summarise()
    return Summary.of(storage.read_tensors(work.summary, "summary"))


class _Work:
    """Two folders beside the parts, named after all that decides what comes into them: the summary, and until it is
    there, the features of each part."""

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
        """The features of every part, unless they are summarised."""
        if self.is_summarised():
            return
        if os.path.lexists(self.summary):
            warn(f"{self.summary}: is damaged; these samples are summarised again")
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
            if not os.path.lexists(self.summary):  # which another has made meanwhile, and taken the features away
                raise

    def summarise(self) -> None:
        """Join the features of all parts, and let go of them."""
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
