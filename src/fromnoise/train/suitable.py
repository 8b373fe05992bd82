"""Checks before the first step: whether a model can be trained, and whether a checkpoint can be resumed."""

import inspect
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from fromnoise import nn as networks
from fromnoise.data import remembered
from fromnoise.errors import FromNoiseError, TrainingError
from fromnoise.system.disk import storage
from fromnoise.system.hardware.memory import insist_on_memory
from fromnoise.train.sharding import local

_MEANING = ("network", "schedule", "parameterization", "variance")
"""The parts of a description that determine the meaning of a checkpoint's weights."""


def check_weights(weights: Mapping[str, nn.Parameter]) -> None:
    """Check that weights can be trained.

    Raises:
        FromNoiseError: weights are in half precision, in which small steps are lost to rounding; a weight has no shape
            yet; or no weight requires a gradient.
    """
    lazy = next((name for name, p in weights.items() if isinstance(p, UninitializedParameter)), None)
    if lazy:
        raise FromNoiseError(f"the network's {lazy} has no shape yet: call the network once on a batch before fit")
    trained = {name: p for name, p in weights.items() if p.requires_grad}
    half = next((name for name, p in trained.items() if p.dtype in (torch.bfloat16, torch.float16)), None)
    if half:
        raise FromNoiseError(f"the network's {half} is in half precision, in which small steps round to nothing: train "
                             "network.float(), and choose the computation's format with precision")  # fmt: skip
    if not trained:
        raise FromNoiseError("the network has no parameter that can be trained")


def not_finite(step: int, loss: float, weights: Mapping[str, nn.Parameter]) -> TrainingError:
    """The error for a step whose loss or gradient is not finite."""
    bad = (name for name, p in weights.items() if p.grad is not None and not local(p.grad).isfinite().all())
    of = f" and the gradient of {name} is not finite" if (name := next(bad, None)) else ""
    return TrainingError(f"step {step}: the loss is {loss:.4g}{of}; the weights are unchanged; lower train.lr, try "
                         "precision fp32, or skip such steps with train.skip_nonfinite")  # fmt: skip


def no_room(error: OSError, weights: Mapping[str, nn.Parameter], folder: Path, saved: int) -> TrainingError:
    """The error for a disk that is full or fails."""
    need = sum(4 * 4 * p.numel() for p in weights.values())  # weights, their average, and the optimiser's two moments
    left = f"the one of step {saved} is intact" if saved else "none was written yet"
    return TrainingError(f"{(error.strerror or str(error)).lower()}: a checkpoint needs {need:,} bytes in {folder}; "
                         f"{left}: free space, then resume")  # fmt: skip


def insist_on_finite(checkpoint: Path, stem: str, tensors: Mapping[str, Tensor]) -> None:
    """Check that the tensors of a checkpoint are finite.

    Raises:
        Damaged: a tensor holds infinity or NaN, which would spread to every weight.
    """
    for name, value in tensors.items():
        if value.is_floating_point() and not local(value).isfinite().all():
            raise storage.Damaged(f"{checkpoint}: {name} of {stem} is not finite: resume from another checkpoint")


def check_batch(batch_size: int, shape: Sequence[int], share: float = 1.0) -> None:
    """Check that a batch fits into memory: its examples, their noise, and the noisy examples.

    Args:
        batch_size: over all processes.
        shape: of an example.
        share: of the batch that this machine computes.

    Raises:
        FromNoiseError: it does not.
    """
    insist_on_memory(3.0 * 4 * share * batch_size * math.prod(shape), f"train.batch_size {batch_size:,}")


def insist_on_the_same(checkpoint: Path, described: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
    """Check that a checkpoint belongs to this task's model and to the same data.

    Args:
        checkpoint: the checkpoint to resume from.
        described: the task's description.
        notes: the notes of the run.

    Raises:
        FromNoiseError: the model or the data differ; the message names the first difference.
    """
    if remembered.NOTE in notes and storage.holds(checkpoint, remembered.NOTE):
        learned = storage.read_text(checkpoint, remembered.NOTE)
        remembered.insist_on_the_same(checkpoint, learned, notes[remembered.NOTE])
    for stem, about in described.items():
        stored, own = storage.read_text(checkpoint, stem), json.loads(json.dumps(about))
        for key in _MEANING:
            if key in own and stored.get(key) != own[key] and stored.get(key) != _of_before(own[key], stored.get(key)):
                raise FromNoiseError(f"{checkpoint} is of another {key}, {stored.get(key)}; this run's is {own[key]}: "
                                     "name another folder")  # fmt: skip


def _of_before(own: Any, stored: Any) -> Any:
    """The description of a network of fromnoise, as an older version would have stored it.

    Options that the stored description lacks are left out if they have their default values.
    """
    if not isinstance(own, dict) or not isinstance(stored, dict) or own.get("name") not in networks.names():
        return own
    usual = {name: p.default for name, p in inspect.signature(networks.get(own["name"])).parameters.items()}
    return {k: v for k, v in own.items() if k in stored or k not in usual or v != usual[k]}
