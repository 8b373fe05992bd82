"""Checks of arguments at the library's entry points: an error is one line with the argument, the value and the way out.

A correct call costs a few comparisons. Nothing in this module reads a number from a GPU, which would wait for it.
"""

import inspect
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError, nearest

_WHOLE = (torch.int32, torch.int64)


def whole(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Return `value` as an int; NumPy integers are accepted.

    Raises:
        FromNoiseError: if it is not a whole number, is below `least`, or above `most`.
    """
    least_words = "" if least is None else f" of at least {least}"
    try:
        number = operator.index(value)
    except TypeError:
        raise FromNoiseError(f"{name} must be a whole number{least_words}, got {shown(value)}") from None
    if least is not None and number < least:
        raise FromNoiseError(f"{name} must be a whole number{least_words}, got {number}")
    if most is not None and number > most:
        raise FromNoiseError(f"{name} must be at most {most:,}")
    return number


def holds(condition: Tensor) -> bool:
    """Whether the condition is true for every element; always True while a graph is exported, which has no values."""
    return torch.compiler.is_exporting() or bool(condition.all())


def instance(name: str, value: Any, kind: type, way_out: str = "") -> None:
    """Check that a value is an instance of `kind`.

    Raises:
        FromNoiseError: if it is not, or if it is the class instead of an object.
    """
    if not isinstance(value, kind):
        objects(**{name: value})
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise FromNoiseError(
            f"{name} must be {article} {kind.__name__}, got {shown(value)}{way_out and ': ' + way_out}"
        )


def objects(**values: Any) -> None:
    """Check that no argument is a class where an object is needed.

    Raises:
        FromNoiseError: if one is.
    """
    for name, value in values.items():
        if isinstance(value, type):
            needed = any(p.default is p.empty and p.kind <= p.POSITIONAL_OR_KEYWORD for p in _parameters(value))
            made = f"{value.__name__}({'...' if needed else ''})"
            raise FromNoiseError(f"{name} is the class {value.__name__}: give an object: {made}")


def floats(**values: Any) -> None:
    """Check that every argument is a floating-point tensor.

    Raises:
        FromNoiseError: if one is an array, a list, or a tensor of integers.
    """
    for name, x in values.items():
        if not isinstance(x, Tensor):
            way_out = f"torch.from_numpy({name})" if type(x).__module__ == "numpy" else f"torch.as_tensor({name})"
            raise FromNoiseError(f"{name} must be a tensor, got {shown(x)}: give {way_out}")
        if not x.is_floating_point():
            way_out = f"{name} / 127.5 - 1" if x.dtype == torch.uint8 else f"{name}.float()"
            raise FromNoiseError(f"{name} must be floating-point, got {x.dtype}: give {way_out}")


def state(name: str, x: Any, shape: tuple[int, ...] | None = None, device: torch.device | None = None) -> None:
    """Check that x is a batch of examples of a shape, on a device.

    The sides of an image may differ from `shape`, since many networks take any size; the number of axes and the number
    of channels must match.

    Raises:
        FromNoiseError: if x is not a floating-point tensor, does not fit the shape, or is on another device.
    """
    floats(**{name: x})
    if not x.dim():
        raise FromNoiseError(f"{name} must be [B, ...], got a single number")
    if shape is not None:
        fits(name, tuple(x.shape), shape)
    if device is not None and x.device != device:
        raise FromNoiseError(f"{name} is on {x.device} and the network on {device}: give {name}.to(denoiser.device)")


def fits(name: str, whole_shape: Sequence[int], shape: tuple[int, ...]) -> None:
    """Check that the shape of a batch, [B, ...], has the axes and the channels of examples of shape `shape`.

    Raises:
        FromNoiseError: if it does not.
    """
    if len(whole_shape) != len(shape) + 1 or whole_shape[1] != shape[0]:
        way_out = f": give {name}[None] for a batch of one" if tuple(whole_shape) == tuple(shape) else ""
        sizes = ", ".join(map(str, shape))
        raise FromNoiseError(f"{name} must be [B, {sizes}], got {list(whole_shape)}{way_out}")


def conditions(
    cond: Any, n: int, classes: int = 0, device: torch.device | None = None
) -> dict[str, Tensor] | None:  # fmt: skip
    """Return conditions as tensors [n, ...]: a number applies to every example; lists and arrays become tensors.

    Args:
        cond: {name: tensor, list or number}, or None.
        n: number of examples.
        classes: classes of the network, 0 for one without labels; with classes, "label" must hold whole numbers.
        device: the network's; values that are not tensors yet are moved there.

    Raises:
        FromNoiseError: if `cond` is not a dict, a condition has another length or is on another device, or a label is
            not a whole number.
    """
    if cond is None:
        return None
    if not isinstance(cond, Mapping):
        raise FromNoiseError(f"cond must be a dict such as {{'label': 3}}, got {shown(cond)}")
    return {name: _condition(name, value, n, classes, device) for name, value in cond.items()}


def labels(cond: Mapping[str, Tensor] | None, classes: int, null_label: int | None) -> None:
    """Check that labels on the CPU are in range(classes) or the null label; labels on other devices are not read.

    Raises:
        FromNoiseError: if one is not.
    """
    label = cond.get("label") if cond else None
    if label is None or not classes or label.device.type != "cpu" or not label.numel():
        return
    low, high = int(label.min()), int(label.max())
    most = classes if null_label == classes else classes - 1
    if low < 0 or high > most:
        null = f", and {null_label} stands for none" if null_label is not None else ""
        wrong = low if low < 0 else high
        raise FromNoiseError(f"cond['label'] must lie in 0..{classes - 1}{null}, got {wrong}")


def tokens(cond: Mapping[str, Tensor] | None, network: nn.Module) -> None:
    """Check that token numbers on the CPU are in the network's vocabulary; those on other devices are not read.

    Raises:
        FromNoiseError: if one is not.
    """
    text, vocabulary = (cond or {}).get("text"), getattr(getattr(network, "text", None), "vocabulary", None)
    if text is None or not vocabulary or text.device.type != "cpu" or text.dtype not in _WHOLE or not text.numel():
        return
    low, high = int(text.min()), int(text.max())
    if low < 0 or high >= vocabulary:
        raise FromNoiseError(f"cond['text'] must be token numbers in 0..{vocabulary - 1}, got "
                             f"{low if low < 0 else high}: give text, or the output of the model's own "
                             "encoder")  # fmt: skip


def call(network: nn.Module, cond: Mapping[str, Tensor] | None) -> None:
    """Explain a TypeError of network(x, time, **cond), if its arguments were the cause.

    Raises:
        FromNoiseError: if the network takes no time, does not know a condition, or lacks one that it needs.
    """
    parameters = _parameters(network.forward)
    kinds = {p.kind for p in parameters}
    if inspect.Parameter.VAR_POSITIONAL not in kinds and len(parameters) < 2:
        takes = ", ".join(p.name for p in parameters)
        raise FromNoiseError(
            f"network is called as network(x, time), and {type(network).__name__} takes ({takes}): give its forward a "
            "second argument"
        )
    known = {p.name: p.default is not p.empty for p in parameters[2:] if p.kind in _NAMED}
    given = cond or {}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name in given:
            if name not in known:
                allowed = f"takes {', '.join(known)}" if known else "takes none"
                raise FromNoiseError(f"cond has {name!r}{nearest(name, known)}, and the network {allowed}")
    missing = [name for name, has_default in known.items() if not has_default and name not in given]
    if missing:
        raise FromNoiseError(f"the network needs {' and '.join(missing)}: give cond={{{missing[0]!r}: ...}}")


def shown(value: Any) -> str:
    """A value as a message shows it: numbers and short strings as they are, the type of everything else."""
    if isinstance(value, str | int | float) and len(text := repr(value)) < 40:
        return text
    if isinstance(value, type):
        return f"the class {value.__name__}"
    module = type(value).__module__.partition(".")[0]
    return type(value).__name__ if module == "builtins" else f"{module}.{type(value).__name__}"


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some functions written in C have none
        return []


def _condition(name: str, value: Any, n: int, classes: int, device: torch.device | None) -> Tensor:
    label = name == "label" and classes > 0
    if not isinstance(value, Tensor):
        try:
            value = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            raise FromNoiseError(f"cond[{name!r}] must be a tensor or a number, got {shown(value)}") from None
        value = value if device is None else value.to(device)
    elif device is not None and value.device != device:
        raise FromNoiseError(f"cond[{name!r}] is on {value.device} and the network on {device}: "
                             "give it .to(denoiser.device)")  # fmt: skip
    if label and (value.is_floating_point() or value.is_complex()):
        raise FromNoiseError(f"cond[{name!r}] must be whole numbers, got {value.dtype}: give it .long()")
    if label and value.dtype not in (torch.int32, torch.int64):
        value = value.long()
    if not value.dim():
        return value.expand(n)
    if value.shape[0] != n:
        raise FromNoiseError(
            f"cond[{name!r}] has {len(value)} entries for {n} examples: give one for each, or a number for all"
        )
    return value
