"""Bytes that were right, made wrong; JSON and tensors likewise."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

NUMBERS = (0, -1, 1, 3, 2**31, 2**63, -(2**63), 10**9, 10**12, 10**30, 0.5, -0.0, 1e308, 1e-320, float("nan"),
           float("inf"), float("-inf"))  # fmt: skip
WORDS = ("", "name", "../../x", "/dev/zero", "\x1b[31m", "é\u202e", "a" * 5000, "__class__", "nan", "\x00", "unet")
OTHERS = (None, True, [], {}, [[]], {"name": "unet"}, [1, 2, 3], {"own": "X"})


def flipped(content: bytes, rng: random.Random) -> bytes:
    """One bit or one byte another, or the end cut off."""
    if not content:
        return b"\x00"
    if rng.random() < 0.1:
        return content[: rng.randrange(len(content))]
    place = rng.randrange(len(content))
    change = 1 << rng.randrange(8) if rng.random() < 0.5 else rng.randrange(1, 256)
    return content[:place] + bytes([content[place] ^ change]) + content[place + 1 :]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Some bytes other ones, a stretch removed, doubled, cut, or set to one value; one to four times."""
    for _ in range(rng.randint(1, 4)):
        content = _once(content, rng)
    return content


def _once(content: bytes, rng: random.Random) -> bytes:
    n = len(content)
    if n < 2:
        return content + rng.randbytes(3)
    # Headers decide most, and are short.
    start = rng.randrange(min(n, 64)) if rng.random() < 0.5 else rng.randrange(n)
    stop = min(n, start + rng.choice((1, 1, 2, 4, 8, rng.randint(1, n))))
    how = rng.randrange(6)
    if how == 0:
        return content[:start]
    if how == 1:
        return content[:start] + content[stop:]
    if how == 2:
        return content[:stop] + content[start:]
    middle = (
        rng.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * (stop - start)
        if how == 3
        else rng.randbytes(min(stop - start, 4096))
    )
    return content[:start] + middle + content[start + len(middle) :]


def other_value(value: Any, rng: random.Random) -> Any:
    """What may stand in place of a JSON value, nearer to it more often."""
    if isinstance(value, bool) or value is None or rng.random() < 0.2:
        return rng.choice((*NUMBERS, *WORDS, *OTHERS))
    if isinstance(value, int | float):
        return rng.choice(NUMBERS)
    if isinstance(value, str):
        return rng.choice(WORDS)
    return rng.choice(OTHERS)


def other_json(value: Any, rng: random.Random) -> Any:
    """A JSON value with one place in it changed, removed, or put deep inside."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        changed = dict(value)
        how = rng.random()
        if how < 0.08:
            del changed[key]
        elif how < 0.12:
            changed[rng.choice(WORDS)] = changed.pop(key)
        else:
            changed[key] = other_json(value[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = rng.randrange(len(value))
        return [*value[:place], other_json(value[place], rng), *value[place + 1 :]]
    if rng.random() < 0.05:
        for _ in range(rng.choice((3, 200, 900))):
            value = [value] if rng.random() < 0.5 else {"name": value}
        return value
    return other_value(value, rng)


def other_tensor(value: Any, rng: random.Random) -> Any:
    """Another shape, number format or content."""
    import torch

    how = rng.randrange(7)
    if how == 0:
        return value.flatten()[: max(1, value.numel() // 2)].clone()
    if how == 1:
        return value[None].clone()
    if how == 2:
        return torch.full_like(value, rng.choice((float("nan"), float("inf"), 1e38, 0.0)))
    if how == 3:
        return value.to(rng.choice((torch.int64, torch.bool, torch.float64, torch.uint8, torch.complex64)))
    if how == 4:
        return torch.zeros(0)
    if how == 5:
        return value.to(rng.choice((torch.bfloat16, torch.float16)))
    return torch.zeros(rng.choice((1, 7, 1000)))


def fit_manifest(folder: Path) -> None:
    """Write the manifest anew, so that sizes and hashes are those of what is there."""
    name = "manifest.json"
    before = json.loads((folder / name).read_text())
    entries = {}
    for file in sorted(path for path in folder.iterdir() if path.name != name):
        if file.is_file():
            content = file.read_bytes()
            entries[file.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    shaped = before | {"files": entries} if "files" in before else entries
    (folder / name).write_text(json.dumps(shaped))
