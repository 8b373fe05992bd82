"""Encoding in parts, each complete or absent: processes may come and go, and a killed one loses only its part."""

import hashlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fromnoise.data import precomputed
from fromnoise.data.images import Images, to_unit
from fromnoise.data.precomputed import Description
from fromnoise.errors import FromNoiseError
from fromnoise.nn.text.base import TextEncoder, tidy
from fromnoise.system.disk import files, placing, storage
from fromnoise.system.disk.claims import Claims
from fromnoise.system.progress import Bar, warn

Encode = Callable[[Tensor], Tensor]

_PAUSE = 0.5
_TOGETHER = 256


class Work:
    """Makes the parts of an encoded data set; any number of processes share the parts among themselves.

    A part does not depend on which process makes it, if the machines compute alike: batches begin at multiples of the
    batch size in the whole data set.

    Args:
        folder: folder of the encoded data set.
        description: its description.
        images: the images to encode.
        encode: maps images in [-1, 1] to latents; None if only captions are encoded.
        encoder: the fitted text encoder; None if captions are not encoded.
        talk: whether this process shows progress bars.
        first: where this process starts among the parts, as a share in [0, 1), so that processes that start together
            do not all begin with the same part.
    """

    def __init__(
        self, folder: Path, description: Description, images: Images, encode: Encode | None,
        encoder: TextEncoder | None, talk: bool = True, first: float = 0.0,
    ):  # fmt: skip
        self.folder, self.description, self.images = folder, description, images
        self.encode, self.encoder, self.talk, self.first = encode, encoder, talk, first
        self._whole: set[int] = set()
        self._damaged: set[int] = set()
        self._warned = False
        self._claims = Claims()

    def look(self, at_images: bool = False) -> list[int]:
        """Return the numbers of parts that are missing or damaged.

        Args:
            at_images: also compare every image, and remove parts whose images have changed.
        """
        numbers = range(self.description.parts)
        there = [part for part in numbers if part not in self._whole and self._place(part).is_dir()]
        with self._bar("comparing the images" if at_images else "checking the parts", there) as bar:
            for part in there:
                about = self._about(part)
                if about is not None and at_images and about.get("pixels") != self._pixels(part):
                    warn(f"{self._place(part)}: its images have changed; they are encoded again")
                    self._whole.discard(part)
                    files.remove(self._place(part))
                bar.advance(len(self.description.numbers(part)))
        return [part for part in numbers if part not in self._whole]

    def run(self) -> int:
        """Make the missing parts, wait for those of other processes, and return how many this process made.

        Raises:
            OSError: if the disk is full, or the folder is not writable.
        """
        made, missing = 0, self.look()
        with self._bar(f"encoding {self.images.name}", missing) as bar:
            while missing:
                left = list(missing)
                for part in self._in_turn(missing):
                    with self._claims.claimed(self._claim(part)) as own:
                        if own and not self._is_there(part):
                            self._make(part, bar)
                            made += 1
                        elif part in self._whole:
                            bar.advance(len(self.description.numbers(part)))
                missing = [part for part in missing if part not in self._whole]
                if missing == left:
                    time.sleep(_PAUSE)
        self._clean_up()
        return made

    def _in_turn(self, parts: Sequence[int]) -> Iterator[int]:
        start = int(self.first * len(parts))
        yield from (*parts[start:], *parts[:start])

    def _place(self, part: int) -> Path:
        return precomputed.place(self.folder, part)

    def _claim(self, part: int) -> Path:
        return self._place(part).with_suffix(".claim")

    def _bar(self, what: str, parts: Sequence[int]) -> Any:
        total = sum(len(self.description.numbers(part)) for part in parts)
        return Bar(what, max(total, 1)) if self.talk and total else _NoBar()

    def _is_there(self, part: int) -> bool:
        """Whether the part is complete by now; warns if it is damaged."""
        return self._place(part).is_dir() and self._about(part) is not None

    def _about(self, part: int) -> dict[str, Any] | None:
        try:
            found = precomputed.about(self.folder, self.description, part)
        except storage.Damaged as error:
            if self._place(part).is_dir() and part not in self._damaged:  # otherwise it is just being put in place
                self._damaged.add(part)
                warn(f"{error}; it is made again")
            return None
        self._whole.add(part)
        return found

    def _make(self, part: int, bar: Any) -> None:
        tensors, about = self._encoded(part, bar.advance)
        texts: dict[str, Any] = {precomputed.ABOUT: {"of": self.description.key, "part": part, **about}}
        if self.description.captions is not None:
            texts[precomputed.CAPTIONS] = [tidy(self.images.captions[i]) for i in self.description.numbers(part)]
        try:
            storage.write_folder(self._place(part), {precomputed.TENSORS: tensors}, texts)
        except OSError as error:
            if not self._is_there(part):  # another process may have put it in place and cleaned up
                raise OSError(error.errno, error.strerror, str(self._place(part))) from None
        self._whole.add(part)

    def _encoded(self, part: int, advance: Callable[[int], object]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        numbers, tensors, about = self.description.numbers(part), {}, {}
        if self.encode is not None:
            tensors, about = self._latents(numbers, self.encode, advance)
        if self.encoder is not None:
            tensors |= self._texts(numbers, self.encoder)
        if self.encode is None:
            advance(len(numbers))
        return tensors, about

    def _latents(
        self, numbers: range, encode: Encode, advance: Callable[[int], object]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        digest, sums = hashlib.sha256(), []
        found: dict[str, list[Tensor]] = {"latents": [], "labels": []}
        for indices, pixels, labels in self._batches(numbers):
            digest.update(_bytes(pixels))
            x = to_unit(pixels)
            for name, seen in (("latents", x), ("mirrored", x.flip(-1)))[: 1 + self.description.flip]:
                with _same_kernels():
                    z = encode(seen).float().cpu()
                if not bool(z.isfinite().all()):
                    raise FromNoiseError(f"{self.images.name}: the latents of images {indices[0]} to {indices[-1]} are "
                                         "not finite: encode with precision fp32")  # fmt: skip
                found.setdefault(name, []).append(z)
                wide = z.numpy().astype(np.float64)
                sums.append([float(wide.sum()), float((wide**2).sum())])
            found["labels"].append(labels.long())
            advance(len(indices))
        return {name: torch.cat(parts) for name, parts in found.items()}, {"pixels": digest.hexdigest(), "sums": sums}

    def _texts(self, numbers: range, encoder: TextEncoder) -> dict[str, Tensor]:
        """Encode each distinct caption of the part once."""
        own = [tidy(self.images.captions[i]) for i in numbers]
        rows = {text: i for i, text in enumerate(dict.fromkeys(own))}
        texts = list(rows)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            parts = [encoder(texts[start : start + _TOGETHER]) for start in range(0, len(texts), _TOGETHER)]
        for one in said[: not self._warned]:  # captions may be cut in every part, but one warning is enough
            self._warned = True
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        table = torch.cat(parts)
        return {"text": table if table.is_floating_point() else table.to(torch.int32),
                "text_of": torch.tensor([rows[text] for text in own], dtype=torch.int32)}  # fmt: skip

    def _batches(self, numbers: range) -> Iterator[tuple[range, Tensor, Tensor]]:
        for start in numbers[:: self.description.batch]:
            indices = range(start, min(start + self.description.batch, numbers.stop))
            yield indices, *self.images.batch(indices)

    def _pixels(self, part: int) -> str:
        digest = hashlib.sha256()
        for _, pixels, _ in self._batches(self.description.numbers(part)):
            digest.update(_bytes(pixels))
        return digest.hexdigest()

    def _clean_up(self) -> None:
        """Remove what killed processes left, unless another process is still writing."""
        with suppress(OSError):
            for path in self.folder.glob("*.claim"):
                with self._claims.claimed(path):  # entering and leaving removes a claim that no process holds
                    pass
            if not any(self.folder.glob("*.claim")):
                placing.clean_up(self.folder)


def _bytes(pixels: Tensor) -> bytes:
    return pixels.contiguous().numpy().tobytes()


@contextmanager
def _same_kernels() -> Iterator[None]:
    """Use deterministic CUDA kernels, regardless of `tune`: the fastest kernel may differ between runs, and with it the
    last bits."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    try:
        cudnn.benchmark, cudnn.deterministic = False, True
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


class _NoBar:
    """The progress bar of processes that print nothing."""

    def __enter__(self) -> "_NoBar":
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""

    def advance(self, amount: float = 1) -> None:
        """Do nothing."""
