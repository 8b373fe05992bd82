"""First mistakes, found where a person enters the library: one line with the argument, what was given and the way out.

A right call costs a few comparisons, and nothing here reads a number from a GPU.
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
    """An int, numpy's included.

    Raises:
        FromNoiseError: it is none, below `least`, or above `most`.
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
    """Whether it is true of every element; of a graph that is being written there are no values to ask about."""
    return torch.compiler.is_exporting() or bool(condition.all())


def instance(name: str, value: Any, kind: type, way_out: str = "") -> None:
    """That a value is an object of that kind.

    Raises:
        FromNoiseError: it is not, or is the class in place of an object.
    """
    if not isinstance(value, kind):
        objects(**{name: value})
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise FromNoiseError(
            f"{name} must be {article} {kind.__name__}, got {shown(value)}{way_out and ': ' + way_out}"
        )


def objects(**values: Any) -> None:
    """That no argument is a class in place of an object.

    Raises:
        FromNoiseError: one is.
    """
    for name, value in values.items():
        if isinstance(value, type):
            needed = any(p.default is p.empty and p.kind <= p.POSITIONAL_OR_KEYWORD for p in _parameters(value))
            made = f"{value.__name__}({'...' if needed else ''})"
            raise FromNoiseError(f"{name} is the class {value.__name__}: give an object: {made}")


def floats(**values: Any) -> None:
    """That every argument is a tensor of floating-point numbers.

    Raises:
        FromNoiseError: an array, a list, or a tensor of integers.
    """
    for name, x in values.items():
        if not isinstance(x, Tensor):
            way_out = f"torch.from_numpy({name})" if type(x).__module__ == "numpy" else f"torch.as_tensor({name})"
            raise FromNoiseError(f"{name} must be a tensor, got {shown(x)}: give {way_out}")
        if not x.is_floating_point():
            way_out = f"{name} / 127.5 - 1" if x.dtype == torch.uint8 else f"{name}.float()"
            raise FromNoiseError(f"{name} must be floating-point, got {x.dtype}: give {way_out}")


def state(name: str, x: Any, shape: tuple[int, ...] | None = None, device: torch.device | None = None) -> None:
    """That x is a batch of examples of that shape, on that device.

    Sides of an image may differ from the shape's, since many networks take every size; the number of axes and the first
    of them may not.

    Raises:
        FromNoiseError: as `floats`, or another shape or device.
    """
    floats(**{name: x})
    if not x.dim():
        raise FromNoiseError(f"{name} must be [B, ...], got a single number")
    if shape is not None:
        fits(name, tuple(x.shape), shape)
    if device is not None and x.device != device:
        raise FromNoiseError(f"{name} is on {x.device} and the network on {device}: give {name}.to(denoiser.device)")


def fits(name: str, whole_shape: Sequence[int], shape: tuple[int, ...]) -> None:
    """That [B, ...] has the axes of examples of that shape, and as many channels.

    Raises:
        FromNoiseError: it has not.
    """
    if len(whole_shape) != len(shape) + 1 or whole_shape[1] != shape[0]:
        way_out = f": give {name}[None] for a batch of one" if tuple(whole_shape) == tuple(shape) else ""
        sizes = ", ".join(map(str, shape))
        raise FromNoiseError(f"{name} must be [B, {sizes}], got {list(whole_shape)}{way_out}")


def conditions(
    cond: Any, n: int, classes: int = 0, device: torch.device | None = None
) -> dict[str, Tensor] | None:  # fmt: skip
    """Conditions as tensors [n, ...]: a number stands for every example; lists and arrays become tensors.

    Args:
        cond: {name: tensor, list or number}, or None.
        n: examples.
        classes: of a network that has labels: then "label" must be whole numbers.
        device: of the network; what is no tensor yet is put there.

    Raises:
        FromNoiseError: no dict, a condition of another length or on another device, or a label that is no whole number.
    """
    if cond is None:
        return None
    if not isinstance(cond, Mapping):
        raise FromNoiseError(f"cond must be a dict such as {{'label': 3}}, got {shown(cond)}")
    return {name: _condition(name, value, n, classes, device) for name, value in cond.items()}


def labels(cond: Mapping[str, Tensor] | None, classes: int, null_label: int | None) -> None:
    """That labels on the CPU are those of the classes, or the null label; others are not looked at.

    Raises:
        FromNoiseError: one is not.
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
    """That token numbers of a text on the CPU are those of the network's vocabulary; others are not looked at.

    Raises:
        FromNoiseError: one is not.
    """
    text, vocabulary = (cond or {}).get("text"), getattr(getattr(network, "text", None), "vocabulary", None)
    if text is None or not vocabulary or text.device.type != "cpu" or text.dtype not in _WHOLE or not text.numel():
        return
    low, high = int(text.min()), int(text.max())
    if low < 0 or high >= vocabulary:
        raise FromNoiseError(f"cond['text'] must be token numbers in 0..{vocabulary - 1}, got "
                             f"{low if low < 0 else high}: give words, or what the model's own encoder makes of "
                             "them")  # fmt: skip


def call(network: nn.Module, cond: Mapping[str, Tensor] | None) -> None:
    """What a TypeError of network(x, time, **cond) was about, where it was about its arguments.

    Raises:
        FromNoiseError: the network takes no time, an unknown condition, or one that it needs is missing.
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
    """A value as a message shows it: numbers and short strings themselves, of everything else the type."""
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
    except (TypeError, ValueError):  # some of C have none
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
