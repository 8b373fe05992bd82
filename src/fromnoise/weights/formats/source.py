"""What is to be opened: a folder or a file of another library, whose tensors are read where nothing in it can run."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from fromnoise.disk import files
from fromnoise.errors import FromNoiseError
from fromnoise.weights import foreign

SAFE = ".safetensors"
KEYS = frozenset({"network", "schedule", "parameterization", "variance", "side", "factor", "by_head", "class_names",
                  "autoencoder"})  # fmt: skip
"""What can be said of a file; each format takes some of them."""


@dataclass(frozen=True)
class Source:
    """A folder or a file, and what a person adds to what it says.

    Attributes:
        path: of it.
        like: options that a file does not tell, by the names in `KEYS`.
        warn: called with one line on what was assumed, or does not come along.
    """

    path: Path
    like: Mapping[str, Any] = field(default_factory=dict)
    warn: Callable[[str], None] = print

    @classmethod
    def of(cls, path: Path, like: Mapping[str, Any], warn: Callable[[str], None]) -> Self:
        """With what a file of the same name that ends in .json says beside it, where there is one and `like` does not.

        One that has none of these keys is another program's, and left alone.

        Raises:
            FromNoiseError: it has some of them, and others too.
        """
        beside = path.with_suffix(".json")
        if path.is_dir() or beside == path or not beside.is_file():
            return cls(path, like, warn)
        said = files.read_json(beside)
        if not isinstance(said, dict) or KEYS.isdisjoint(said):
            return cls(path, like, warn)
        if other := sorted(set(said) - KEYS):
            raise FromNoiseError(f"{beside}: {files.one_line(other[0])} is nothing that is said of a model: take "
                                 f"{', '.join(sorted(KEYS))}")  # fmt: skip
        return cls(path, {**said, **like}, warn)

    @property
    def is_folder(self) -> bool:
        return self.path.is_dir()

    def has(self, name: str) -> bool:
        """Whether a folder holds that name."""
        return os.path.lexists(self.path / name)

    @cached_property
    def opened(self) -> foreign.Opened:
        """The tensors of a file, and what it says of them.

        Raises:
            FromNoiseError: no file, another kind of file, a damaged one, or more than plain tensors in it.
        """
        if self.path.suffix == SAFE:
            return foreign.Opened(read_safetensors(self.path))
        return foreign.opened(self.path)

    @property
    def state(self) -> dict[str, Tensor]:
        return self.opened.state

    def names(self, *wanted: str) -> bool:
        """Whether the file has all of these tensors."""
        return not self.is_folder and all(name in self.state for name in wanted)

    def told(self, *keys: str) -> dict[str, Any]:
        """What `like` says, which must be of these keys.

        Raises:
            FromNoiseError: another key.
        """
        for key in self.like:
            if key not in keys:
                raise FromNoiseError(f"like: {key!r} is nothing that {self.path} needs; what can be said of it is "
                                     f"{', '.join(keys) or 'nothing'}")  # fmt: skip
        return dict(self.like)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file.

    Raises:
        FromNoiseError: no file, or none that is whole.
    """
    from safetensors.torch import load_file

    files.opened(path).close()  # a regular file, or a line that says what it is
    try:
        return load_file(path)
    except Exception as error:  # of the format, of the disk
        with path.open("rb") as file:
            if file.read(23) == b"version https://git-lfs":
                raise FromNoiseError(f"{path}: is a pointer of Git LFS in place of the file: `git lfs pull` fetches "
                                     "what it points to") from None  # fmt: skip
        aside = "; the .bin beside it is not taken in its place" if any(path.parent.glob("*.bin")) else ""
        raise FromNoiseError(f"{path}: no whole safetensors file ({files.one_line(error)}): fetch it again"
                             f"{aside}") from None  # fmt: skip
