"""What the translations of other people's names share: a state that is one, and layers put together."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError


def checked(state: Mapping[str, Tensor], bare: Sequence[str] = ()) -> Mapping[str, Tensor]:
    """The same; `bare` names stand for themselves.

    Raises:
        FromNoiseError: it is no mapping of names, each of a layer and a kind, to tensors.
    """
    if not isinstance(state, Mapping):
        raise FromNoiseError(f"state: a {type(state).__name__}, and must be tensors by name")
    for name, value in state.items():
        named = isinstance(name, str) and (name in bare or all(name.rpartition(".")))
        if not named or not isinstance(value, Tensor):
            raise FromNoiseError(f"state[{name!r}]: a {type(value).__name__}; it is a tensor under a name such as "
                                 "'conv_in.weight'")  # fmt: skip
    return state


def joined(name: str, parts: Mapping[str, Tensor], order: Sequence[str]) -> Tensor:
    """Queries, keys and values as one layer.

    Raises:
        FromNoiseError: one is missing, or of another shape than the others.
    """
    missing = [part for part in order if part not in parts]
    if missing:
        raise FromNoiseError(f"{name}: its part {missing[0]} is not in the state")
    shapes = {part: tuple(parts[part].shape) for part in order}
    if len(set(shapes.values())) > 1 or not shapes[order[0]]:
        raise FromNoiseError(f"{name}: its parts have the shapes {shapes}, and must have one")
    return torch.cat([parts[part] for part in order])
