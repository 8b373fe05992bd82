"""What cannot be trained, or not gone on with, is said before the first step."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fromnoise import storage
from fromnoise.errors import FromNoiseError
from fromnoise.train.task import Task

_MEANING = ("network", "schedule", "parameterization", "variance")
"""What decides what the weights of a checkpoint mean."""


def check_weights(weights: Mapping[str, nn.Parameter]) -> None:
    """Whether training would move them.

    Raises:
        FromNoiseError: weights in half precision, whose steps round to nothing, or none that can be trained.
    """
    half = next((name for name, p in weights.items() if p.dtype in (torch.bfloat16, torch.float16)), None)
    if half:
        raise FromNoiseError(f"the network's {half} is in half precision, in which small steps round to nothing: train "
                             "network.float(); precision says in what it is computed")  # fmt: skip
    if not any(p.requires_grad for p in weights.values()):
        raise FromNoiseError("the network has no parameter that can be trained")


def described(task: Task, network: nn.Module) -> dict[str, Any]:
    """What files say of the task with its own network, and not with the wrapper that averages its gradients."""
    wrapped, task.network = task.network, network
    try:
        return task.describe()
    finally:
        task.network = wrapped


def insist_on_the_same(checkpoint: Path, task: Task) -> None:
    """Whether a checkpoint is of this task's model.

    Raises:
        FromNoiseError: its weights mean something else; with the first difference.
    """
    for stem, about in task.describe().items():
        stored, own = storage.read_text(checkpoint, stem), json.loads(json.dumps(about))
        for key in _MEANING:
            if key in own and stored.get(key) != own[key]:
                raise FromNoiseError(f"{checkpoint} is of another {key}, {stored.get(key)}, this run's is {own[key]}: "
                                     "name another folder")  # fmt: skip
