"""Shared by the converters of third-party state dicts: check a state dict, and join layers."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError


def checked(state: Mapping[str, Tensor], bare: Sequence[str] = ()) -> Mapping[str, Tensor]:
    """Check a state dict and return it unchanged. Names are LAYER.KIND, except those in `bare`.

    Raises:
        FromNoiseError: if it is not a mapping from such names to tensors.
    """
    if not isinstance(state, Mapping):
        raise FromNoiseError(f"state: must be a dict of tensors by name, got a {type(state).__name__}")
    for name, value in state.items():
        named = isinstance(name, str) and (name in bare or all(name.rpartition(".")))
        if not named or not isinstance(value, Tensor):
            raise FromNoiseError(f"state[{name!r}]: a {type(value).__name__}; it is a tensor under a name such as "
                                 "'conv_in.weight'")  # fmt: skip
    return state


def joined(name: str, parts: Mapping[str, Tensor], order: Sequence[str]) -> Tensor:
    """Concatenate queries, keys and values into one layer, in `order`.

    Raises:
        FromNoiseError: if one is missing or their shapes differ.
    """
    missing = [part for part in order if part not in parts]
    if missing:
        raise FromNoiseError(f"{name}: its part {missing[0]} is missing from the state")
    shapes = {part: tuple(parts[part].shape) for part in order}
    if len(set(shapes.values())) > 1 or not shapes[order[0]]:
        raise FromNoiseError(f"{name}: its parts must have one shape, got {shapes}")
    return torch.cat([parts[part] for part in order])
