"""Frames from the worker to the page: a JSON header and arrays, in one block of bytes.

    bytes that follow: u32 | bytes of the header: u32 | header: JSON | padding to 8 | arrays, each padded to 8

The header's "arrays" give the offset of each array, so the page can view the numbers without copying them.
"""

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

_LENGTHS = struct.Struct("<II")
_TYPES = {"uint8": "u1", "float32": "f4", "int32": "i4"}


def pack(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> bytes:
    """Pack a header and arrays into a frame.

    Args:
        header: JSON values; the key "arrays" is reserved.
        arrays: uint8, int32 or floating-point arrays; floating-point becomes float32.
    """
    parts, places, at = [], [], 0
    for name, array in (arrays or {}).items():
        if array.dtype.name not in _TYPES:
            array = array.astype(np.float32)
        content = np.ascontiguousarray(array).tobytes()
        places.append({"name": name, "type": _TYPES[array.dtype.name], "shape": list(array.shape), "at": at})
        content += b"\0" * (-len(content) % 8)
        parts.append(content)
        at += len(content)
    text = json.dumps({**header, "arrays": places}, allow_nan=False).encode()
    padding = b"\0" * (-(_LENGTHS.size + len(text)) % 8)
    body = text + padding + b"".join(parts)
    return _LENGTHS.pack(len(body) + 4, len(text)) + body


def finite(value: Any) -> Any:
    """Replace infinities and NaN in JSON values by null."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def unpack(frame: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The inverse of `pack`."""
    _, length = _LENGTHS.unpack_from(frame)
    header = json.loads(frame[_LENGTHS.size : _LENGTHS.size + length])
    start = _LENGTHS.size + length
    start += -start % 8
    arrays = {}
    for place in header.pop("arrays"):
        count = int(np.prod(place["shape"], dtype=np.int64))
        found = np.frombuffer(frame, np.dtype(f"<{place['type']}"), count, start + place["at"])
        arrays[place["name"]] = found.reshape(place["shape"])
    return header, arrays
