"""Data sets that torchvision knows by name: found under the root, else downloaded there."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fromnoise.data.images import InMemory
from fromnoise.errors import FromNoiseError

DEFAULT_ROOT = Path("~/.cache/fromnoise")


class TorchvisionSet:
    """A torchvision data set with a training and a test split; subclasses name it."""

    kind: str

    def load(self, root: Path | None, split: str = "train") -> InMemory:
        """uint8 [N, C, H, W] with labels, of the split "train" or "test".

        Raises:
            FromNoiseError: torchvision is missing, or the files are neither there nor can be downloaded.
        """
        try:
            from torchvision import datasets
        except ImportError as error:
            raise FromNoiseError(f'{self.kind} needs torchvision ({error}): pip install "fromnoise[vision]"') from None
        where = (root or DEFAULT_ROOT).expanduser()
        make = getattr(datasets, self.kind)
        try:
            found = make(str(where), train=split == "train", download=False)
        except (RuntimeError, OSError):
            found = self._download(make, where, split)
        pixels = np.asarray(found.data)
        pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
        labels = torch.as_tensor(found.targets, dtype=torch.int64)
        name = self.kind.lower() if split == "train" else f"{self.kind.lower()}, {split} split"
        return InMemory(name, torch.from_numpy(pixels.copy()), labels, list(found.classes))

    def _download(self, make: Any, where: Path, split: str) -> Any:
        try:
            return make(str(where), train=split == "train", download=True)
        except (RuntimeError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise FromNoiseError(f"{self.kind} is not under {where} and could not be downloaded ({reason}); "
                                 "name the folder that holds it, data.root") from None  # fmt: skip
