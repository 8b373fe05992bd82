"""Check that all processes of a run have the same code, torch version and configuration."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import fromnoise
from fromnoise.errors import FromNoiseError

_NAMED = 6
_LONGEST = 60


def insist_on_alike(device: torch.device, config: Mapping[str, Any] | None = None) -> None:
    """Check that all processes have the same code, torch version and configuration.

    Every process must call this once it is connected. It costs one exchange of sixteen numbers; texts are exchanged
    only if the processes differ.

    Args:
        device: device on which this process exchanges tensors with the others.
        config: JSON values by name, such as those of config.yaml; None compares no configuration.

    Raises:
        FromNoiseError: the processes differ; it is raised in every process, and says what differs and where.
    """
    mine = described(config)
    text = json.dumps(mine, sort_keys=True).encode()
    digest = torch.frombuffer(bytearray(hashlib.sha256(text).digest()), dtype=torch.int32).to(device)
    ends = torch.cat([digest, ~digest])  # ~x = -1 - x, so the largest ~x belongs to the smallest x
    dist.all_reduce(ends, dist.ReduceOp.MAX)
    if bool((ends[: len(digest)] == ~ends[len(digest) :]).all()):
        return
    said = difference([json.loads(text) for text in _gathered(text, device)])
    raise FromNoiseError(said or "the processes of this run are not alike")


def described(config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The values that must be the same in all processes, by readable names."""
    own = {"fromnoise": fromnoise.__version__, "the source of fromnoise": _source(), "torch": torch.__version__}
    return own | (dict(config) if config is not None else {})


def difference(every: Sequence[Mapping[str, Any]]) -> str | None:
    """A message about the first value that differs between processes; None if there is none.

    The message gives the value in the first process, the other value and the processes that have it, and what to do.

    Args:
        every: the result of `described` in each process.
    """
    for name in dict.fromkeys(name for one in every for name in one):
        values = [json.dumps(one.get(name)) for one in every]
        others: dict[str, list[int]] = {}
        for rank, value in enumerate(values):
            if value != values[0]:
                others.setdefault(value, []).append(rank)
        if others:
            value, ranks = next(iter(others.items()))
            shown = ", ".join(map(str, ranks[:_NAMED])) + (", ..." if len(ranks) > _NAMED else "")
            here, there = _apart(values[0], value)
            return (f"the processes of this run are not alike: {name} is {here} in process 0 and {there} in "
                    f"{'process' if len(ranks) == 1 else 'processes'} {shown}; install the same code on every machine, "
                    "and start every process with the same command")  # fmt: skip
    return None


def _apart(*texts: str) -> list[str]:
    """Both around the first character in which they differ."""
    at = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    start = max(0, at - _LONGEST // 2)
    return ["..." * bool(start) + text[start : start + _LONGEST].strip('"') for text in texts]


@cache
def _source() -> str:
    """A hash of the package's Python files, which tells different states of one version apart."""
    root, digest = Path(fromnoise.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _gathered(text: bytes, device: torch.device) -> list[bytes]:
    """The texts of all processes, by rank."""
    length = torch.tensor([len(text)], device=device)
    lengths = [torch.empty_like(length) for _ in range(dist.get_world_size())]
    dist.all_gather(lengths, length)
    own = torch.zeros(int(max(lengths)), dtype=torch.uint8)
    own[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    every = [torch.empty_like(own, device=device) for _ in lengths]
    dist.all_gather(every, own.to(device))
    return [bytes(one[: int(count)].tolist()) for one, count in zip(every, lengths, strict=True)]
