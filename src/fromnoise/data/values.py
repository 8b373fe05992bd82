"""What people write as an example, x or (x, label) or (x, {name: condition}), as tensors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fromnoise.errors import FromNoiseError

Conditions = dict[str, Tensor]
"""By name, each [B, ...]."""


def pair(value: Any, what: str) -> tuple[Tensor, Conditions]:
    """x and its conditions, from x, (x,), (x, label) or (x, {name: condition}).

    Raises:
        FromNoiseError: the value is none of these; `what` names it in the message.
    """
    conditions: Any = {}
    if isinstance(value, tuple | list) and len(value) in (1, 2) and not np.isscalar(value[0]):
        value, conditions = (*value, {})[:2]
    x = _tensor(value)
    if x is None:
        raise FromNoiseError(f"{what} is a {type(value).__name__}: an example is x, (x, label) or "
                             "(x, {name: condition}), with x a tensor, an array or a Pillow image")  # fmt: skip
    named = conditions if isinstance(conditions, Mapping) else {"label": conditions}
    found = {str(key): _tensor(one) for key, one in named.items()}
    for key, one in found.items():
        if one is None and key == "text":
            raise FromNoiseError(f"{what}: the condition 'text' is {type(named[key]).__name__}: give captions as "
                                 "fn.data.Worded(examples, encoder, captions), or as encoder(captions)")  # fmt: skip
        if one is None:
            raise FromNoiseError(
                f"{what}: the condition {key!r} is a {type(named[key]).__name__}, not a number or array"
            )
    return x, {key: _numbers(one) for key, one in found.items() if one is not None}


def _numbers(condition: Tensor) -> Tensor:
    """Integers unchanged, everything else as float32, the type that networks compute in."""
    whole = not condition.is_floating_point() and condition.dtype != torch.bool
    return condition if whole else condition.float()


def _tensor(value: Any) -> Tensor | None:
    """The value as a tensor; None if it does not consist of numbers."""
    if isinstance(value, Tensor):
        return value
    if hasattr(value, "getbands") and hasattr(value, "convert"):  # a Pillow image: [H, W] or [H, W, C]
        from fromnoise.data.fitting import is_gray, to_array, to_channels  # imports Pillow only if needed

        return torch.from_numpy(to_array(to_channels(value, 1 if is_gray(value.mode) else 3)).copy())
    if isinstance(value, np.ndarray | np.generic | int | float | list | tuple):
        try:
            array = np.asarray(value)
        except ValueError:
            return None
        return torch.as_tensor(array.copy()) if array.dtype.kind in "biuf" else None
    return None


def checked(x: Tensor, what: str) -> Tensor:
    """Return x unchanged if it is uint8, and as float32 if it is floating point.

    Raises:
        FromNoiseError: x has another type, is not finite, or holds images that are clearly not in [-1, 1].
    """
    if x.dtype == torch.uint8:
        return x
    if not x.is_floating_point():
        raise FromNoiseError(f"{what}: x is {str(x.dtype).removeprefix('torch.')}; give uint8 (0..255) or floating "
                             "point (images in [-1, 1])")  # fmt: skip
    x = x.float()
    if x.numel() and not bool(x.isfinite().all()):
        raise FromNoiseError(f"{what}: x holds values that are not finite")
    if x.dim() == 4 and x.shape[1] in (1, 3) and x.numel() and x.max().item() > 4:
        raise FromNoiseError(f"{what}: images with values up to {x.max().item():g}; give uint8 (0..255), or floating "
                             "point in [-1, 1]: x / 127.5 - 1")  # fmt: skip
    return x
