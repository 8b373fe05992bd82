"""Read the parts of diffusers' pipelines, each a folder with a configuration and weights; nothing is executed."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fromnoise.errors import FromNoiseError
from fromnoise.system.disk import files
from fromnoise.weights import foreign, lora
from fromnoise.weights.formats.source import floats, read_safetensors
from fromnoise.weights.names import STEM


def read_options(path: Path) -> dict[str, Any]:
    """Read the options in a JSON file.

    Raises:
        FromNoiseError: if there is no such file, or it does not hold a JSON object.
    """
    found = files.read_json(path)
    if not isinstance(found, dict):
        raise FromNoiseError(f"{path}: holds a {type(found).__name__}, not options by name")
    return found


def insist_on(path: Path, found: Any, known: tuple[str, ...]) -> None:
    """Raise FromNoiseError if the class `found` is not one of `known`."""
    if found not in known:
        raise FromNoiseError(f"{path}: its class is {files.one_line(found)}; it must be one of {', '.join(known)}")


def weights(folder: Path) -> dict[str, Tensor]:
    """Read weights in float32: safetensors in one file or in shards, else the pickle, in which nothing can run.

    Raises:
        FromNoiseError: if there are no weights, a file is damaged, a shard is missing, they are a LoRA, or a tensor is
            not floating-point or not finite.
    """
    found = floats(_weights(folder), folder)
    if any(lora.is_tensor(name) for name in found):
        raise FromNoiseError(f"{folder}: {lora.IS_ONE}")
    return found


def _weights(folder: Path) -> dict[str, Tensor]:
    for stem in (STEM, f"{STEM}.fp16"):
        if os.path.lexists(folder / f"{stem}.safetensors"):
            return read_safetensors(folder / f"{stem}.safetensors")
        index = folder / f"{STEM}.safetensors.index{stem.removeprefix(STEM)}.json"
        if os.path.lexists(index):
            return _shards(index)
    if os.path.lexists(folder / f"{STEM}.bin"):
        return foreign.plain(folder / f"{STEM}.bin")
    raise FromNoiseError(f"{folder}: no weights in it: {STEM}.safetensors, its shards, or {STEM}.bin")


def _shards(index: Path) -> dict[str, Tensor]:
    names = read_options(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise FromNoiseError(f"{index}: must state the file of each tensor (weight_map)")
    state: dict[str, Tensor] = {}
    for name in sorted(set(names.values())):
        if Path(name).name != name:
            raise FromNoiseError(f"{index}: names a file outside its folder, {files.one_line(name)}")
        if not os.path.lexists(index.parent / name):
            raise FromNoiseError(f"{index}: its shard {files.one_line(name)}: no such file: fetch all of them")
        state |= read_safetensors(index.parent / name)
    if missing := sorted(set(names) - set(state)):
        raise FromNoiseError(f"{index}: {files.one_line(missing[0])} is in none of its files")
    return state


def insist_on_fit(own: Mapping[str, Tensor], found: Mapping[str, Tensor], where: object) -> None:
    """Raise FromNoiseError with the file's name of the first tensor that is missing, unknown or of another shape."""
    wanted, given = ({name: list(value.shape) for name, value in one.items()} for one in (own, found))
    other = [name for name in wanted if name in given and given[name] != wanted[name]]
    missing, strange = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    what = ""
    if other:
        what = f"{other[0]} has the shape {given[other[0]]}, expected {wanted[other[0]]}"
    elif missing or strange:
        what = f"{missing[0]} is missing" if missing else f"{files.one_line(strange[0])} belongs nowhere"
    if what:
        more = len(other) + len(missing) + len(strange) - 1
        raise FromNoiseError(f"{where}: its weights do not fit: {what}"
                             + (f", and {more} more" if more else ""))  # fmt: skip
