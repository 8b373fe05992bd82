"""Trace a module as a graph for any number of examples; everything that depends on no input becomes a number."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from fromnoise.errors import FromNoiseError


class Numbers(TorchFunctionMode):
    """Compute eagerly, during tracing, everything that depends on no input of the graph.

    Levels and their coefficients are then float64 numbers that are cast once, as in `sample`, and samplers can branch
    on them. Without this, PyTorch would write these computations into the graph, and fail at the branches.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _traced(args) or _traced(kwargs):
            return func(*args, **kwargs)
        with torch._C.DisableTorchFunction(), _disable_current_modes():
            return func(*args, **kwargs)


def _traced(value: Any) -> bool:
    """Whether a value stands for an input or depends on one: such tensors have PyTorch's tracing classes."""
    if isinstance(value, Tensor):
        return type(value) not in (Tensor, nn.Parameter)
    if isinstance(value, list | tuple):  # a torch.Size is one
        return any(map(_traced, value))
    if isinstance(value, dict):
        return any(map(_traced, value.values()))
    if isinstance(value, slice):
        return any(map(_traced, (value.start, value.stop, value.step)))
    return isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool)


def settle(module: nn.Module) -> None:
    """Prepare a module for tracing: CPU, evaluation mode, and buffers that are not saved become plain tensors."""
    module.cpu().eval().requires_grad_(False)
    for part in module.modules():
        kept = set(part.state_dict())
        for name, table in list(part.named_buffers(recurse=False)):
            if name not in kept:
                delattr(part, name)
                setattr(part, name, table)


def traced(module: nn.Module, inputs: Mapping[str, Tensor], axes: Mapping[str, int]) -> ExportedProgram:
    """The graph of `module(inputs)` for any number of examples.

    Args:
        module: takes one dictionary of inputs.
        inputs: at least two examples of each input.
        axes: the axis of each input that counts the examples.

    Raises:
        FromNoiseError: if the computation depends on values of its inputs in a way that no graph can express.
    """
    N = Dim("N", min=1)
    shapes = {name: {axes[name]: N} for name in inputs}
    with quiet():
        try:
            return torch.export.export(module, (dict(inputs),), dynamic_shapes=(shapes,), strict=False)
        except Exception as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            if said.startswith("Constraints violated"):
                said = "it fixes the number of examples: in a network of yours write x.shape[0] instead of len(x)"
            raise FromNoiseError(f"this model cannot be written as a graph ({said})") from error


@contextmanager
def quiet() -> Iterator[None]:
    """A block without gradients and without the log messages and warnings of PyTorch's exporters."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
