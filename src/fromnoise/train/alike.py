"""Whether all processes of a run are alike: one code, one torch, one configuration."""

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
    """That every process has this one's code, torch and configuration; every process must ask, once connected.

    Costs one exchange of eight numbers; only where they differ are texts exchanged.

    Args:
        device: on which this process exchanges tensors with the others.
        config: JSON values by their names, such as those of config.yaml; None compares none.

    Raises:
        FromNoiseError: in every process, with what differs and where.
    """
    mine = described(config)
    text = json.dumps(mine, sort_keys=True).encode()
    digest = torch.frombuffer(bytearray(hashlib.sha256(text).digest()), dtype=torch.int32).to(device)
    ends = torch.cat([digest, ~digest])  # the largest of -1 - x is that of the smallest x
    dist.all_reduce(ends, dist.ReduceOp.MAX)
    if bool((ends[: len(digest)] == ~ends[len(digest) :]).all()):
        return
    said = difference([json.loads(text) for text in _gathered(text, device)])
    raise FromNoiseError(said or "the processes of this run are not alike")


def described(config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What must be the same everywhere, by names for people."""
    own = {"fromnoise": fromnoise.__version__, "the source of fromnoise": _source(), "torch": torch.__version__}
    return own | (dict(config) if config is not None else {})


def difference(every: Sequence[Mapping[str, Any]]) -> str | None:
    """The first thing that is not the same in all processes, of which `every` has what `described` says of each; None
    where they are alike.

    The line says what it is in the first process and in those where it is something else, the way out behind it.
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
                    "and start every process by the same command")  # fmt: skip
    return None


def _apart(*texts: str) -> list[str]:
    """Both around the first character in which they differ."""
    at = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    start = max(0, at - _LONGEST // 2)
    return ["..." * bool(start) + text[start : start + _LONGEST].strip('"') for text in texts]


@cache
def _source() -> str:
    """A hash of the package's Python files: two states of one version differ in it."""
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
