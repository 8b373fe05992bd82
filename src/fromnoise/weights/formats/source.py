"""A folder or file of another library that is to be opened; its tensors are read so that nothing in it can run."""

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
    """A folder or a file, and the facts that the user adds to it.

    Attributes:
        path: the folder or file.
        like: options that the file does not state, with keys from `said.KEYS`.
        strict: whether every key must be one that the format takes; False for recipes, which have more.
        warn: called with one line about an assumption, or about something that is left out.
    """

    path: Path
    like: Mapping[str, Any] = field(default_factory=dict)
    warn: Callable[[str], None] = print
    strict: bool = True

    @classmethod
    def of(cls, path: Path, like: Mapping[str, Any], warn: Callable[[str], None], strict: bool = True) -> Self:
        """A source whose `like` is extended by the .json file of the same name beside it, if there is one.

        `like` takes precedence. A file with none of these keys belongs to another program and is ignored.

        Raises:
            FromNoiseError: if the file has some of these keys and others too.
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
        """Whether the folder has an entry of that name."""
        return os.path.lexists(self.path / name)

    @cached_property
    def opened(self) -> foreign.Opened:
        """The tensors of the file, and its options.

        Raises:
            FromNoiseError: if there is no file, it is of another kind or damaged, or holds more than plain tensors.
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
        """The values of `like` for these keys.

        Raises:
            FromNoiseError: if `strict` and `like` has another key.
        """
        for key in self.like if self.strict else ():
            if key not in keys:
                raise FromNoiseError(f"{self.path}: like must not have {key!r} for this format, which takes "
                                     f"{', '.join(keys) or 'none'}")  # fmt: skip
        return {key: value for key, value in self.like.items() if key in keys}

    def floats(self) -> dict[str, Tensor]:
        """The tensors of the file in float32.

        Raises:
            FromNoiseError: if one is not floating-point or not finite.
        """
        return floats(self.state, self.path)


def floats(state: Mapping[str, Tensor], where: object) -> dict[str, Tensor]:
    """Weights in float32.

    Raises:
        FromNoiseError: if one is not floating-point or not finite.
    """
    for name, value in state.items():
        if not value.is_floating_point() or value.element_size() < 2:
            kind = str(value.dtype).removeprefix("torch.")
            raise FromNoiseError(f"{where}: {files.one_line(name)} is of type {kind}; weights must be float16, "
                                 "bfloat16, float32 or float64")  # fmt: skip
        if not value.is_meta and not bool(value.isfinite().all()):
            raise FromNoiseError(f"{where}: {files.one_line(name)} holds infinity or NaN: this model is broken")
    return {name: value.float() for name, value in state.items()}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, copied into memory, so that later changes of the file do not affect them.

    Raises:
        FromNoiseError: if there is no such file, or it is damaged.
    """
    from safetensors.torch import load_file

    files.opened(path).close()  # raises with a clear message if it is not a regular file
    try:
        return {name: value.clone() for name, value in load_file(path).items()}
    except Exception as error:  # from the format or the disk
        with path.open("rb") as file:
            if file.read(23) == b"version https://git-lfs":
                raise FromNoiseError(f"{path}: is a Git LFS pointer instead of the file: fetch the file with "
                                     "`git lfs pull`") from None  # fmt: skip
        aside = "; the .bin beside it is not used instead" if any(path.parent.glob("*.bin")) else ""
        raise FromNoiseError(f"{path}: is no intact safetensors file ({files.one_line(error)}): fetch it again"
                             f"{aside}") from None  # fmt: skip
