"""What is to be opened: a folder or a file of another library, whose tensors are read where nothing in it can run."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files
from fromnoise.weights import foreign
from fromnoise.weights.formats.said import KEYS, checked, merged

SAFE = ".safetensors"


@dataclass(frozen=True)
class Source:
    """A folder or a file, and what a person adds to what it says.

    Attributes:
        path: of it.
        like: options that a file does not tell, by the names in `said.KEYS`.
        strict: whether each of them must be one that the format takes; a recipe says more than that.
        warn: called with one line on what was assumed, or does not come along.
    """

    path: Path
    like: Mapping[str, Any] = field(default_factory=dict)
    warn: Callable[[str], None] = print
    strict: bool = True

    @classmethod
    def of(cls, path: Path, like: Mapping[str, Any], warn: Callable[[str], None], strict: bool = True) -> Self:
        """With what a file of the same name that ends in .json says beside it, where there is one and `like` does not.

        One that has none of these keys is another program's, and left alone.

        Raises:
            FromNoiseError: it has some of them, and others too.
        """
        beside, own = path.with_suffix(".json"), checked(like, "like")
        if path.is_dir() or beside == path or not beside.is_file():
            return cls(path, own, warn, strict)
        said = files.read_json(beside)
        if not isinstance(said, dict) or KEYS.isdisjoint(said):
            return cls(path, own, warn, strict)
        return cls(path, merged(checked(said, beside), own), warn, strict)

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
        for key in self.like if self.strict else ():
            if key not in keys:
                raise FromNoiseError(f"{self.path}: {key!r} is said of it and is nothing that it needs; what can be "
                                     f"said of it is {', '.join(keys) or 'nothing'}")  # fmt: skip
        return {key: value for key, value in self.like.items() if key in keys}

    def floats(self) -> dict[str, Tensor]:
        """The tensors of a file in float32.

        Raises:
            FromNoiseError: one is no weight: not of a floating type, or not finite.
        """
        return floats(self.state, self.path)


def floats(state: Mapping[str, Tensor], where: object) -> dict[str, Tensor]:
    """Weights in float32.

    Raises:
        FromNoiseError: one is none: not of a floating type, or not finite.
    """
    for name, value in state.items():
        if not value.is_floating_point() or value.element_size() < 2:
            kind = str(value.dtype).removeprefix("torch.")
            raise FromNoiseError(f"{where}: {files.one_line(name)} is of type {kind}, and weights are float16, "
                                 "bfloat16, float32 or float64")  # fmt: skip
        if not value.is_meta and not bool(value.isfinite().all()):
            raise FromNoiseError(f"{where}: {files.one_line(name)} holds infinity or NaN: this model is broken")
    return {name: value.float() for name, value in state.items()}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, in memory of their own: what happens to the file is nothing to them.

    Raises:
        FromNoiseError: no file, or none that is whole.
    """
    from safetensors.torch import load_file

    files.opened(path).close()  # a regular file, or a line that says what it is
    try:
        return {name: value.clone() for name, value in load_file(path).items()}
    except Exception as error:  # of the format, of the disk
        with path.open("rb") as file:
            if file.read(23) == b"version https://git-lfs":
                raise FromNoiseError(f"{path}: is a pointer of Git LFS in place of the file: `git lfs pull` fetches "
                                     "what it points to") from None  # fmt: skip
        aside = "; the .bin beside it is not taken in its place" if any(path.parent.glob("*.bin")) else ""
        raise FromNoiseError(f"{path}: no whole safetensors file ({files.one_line(error)}): fetch it again"
                             f"{aside}") from None  # fmt: skip
