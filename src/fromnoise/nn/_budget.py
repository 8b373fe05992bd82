"""The memory that a network's weights will take, known before any is taken."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from fromnoise.errors import FromNoiseError
from fromnoise.system.hardware.memory import insist_on_memory

_MOST = 10_000
"""Tensors of weights; the largest published networks have a thousand or two."""


class Unfilled(TorchFunctionMode):
    """Leaves new memory as it is where it would be filled in place.

    Args:
        functions: those that are not carried out, by name; and with `init` all of torch.nn.init.
    """

    def __init__(self, *functions: str, init: bool = False):
        super().__init__()
        self.functions, self.init = functions, init

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {} if kwargs is None else kwargs
        if func.__name__ in self.functions or (self.init and getattr(func, "__module__", "") == "torch.nn.init"):
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def check(make: Callable[[], nn.Module], what: str) -> None:
    """Make the network on the meta device, which takes no memory, until it is known to be too large.

    Raises:
        FromNoiseError: its weights do not fit into memory, or are endlessly many.
    """
    count = size = 0
    found: FromNoiseError | None = None

    def weigh(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal count, size, found
        if not isinstance(parameter, nn.Parameter):
            return
        count, size = count + 1, size + parameter.numel() * parameter.element_size()
        try:
            if count > _MOST:
                raise FromNoiseError(f"{what} has more than {_MOST:,} tensors of weights: make it smaller")
            insist_on_memory(size, f"{what} has more than {size // 4:,} parameters, which")
        except FromNoiseError as error:
            found = error
            raise

    hook = register_module_parameter_registration_hook(weigh)
    try:
        with torch.device("meta"), Unfilled("normal_"):  # for which PyTorch would import its compiler, for seconds
            make()
    except MemoryError:
        raise FromNoiseError(f"{what} does not fit into memory: make it smaller") from None
    except Exception as error:
        if found is None and "overflow" in str(error).lower():  # of a size that no 64 bits hold
            found = FromNoiseError(f"{what} does not fit into memory: make it smaller")
        if found is not None:
            raise found from None  # else it is said when the network is made
    finally:
        hook.remove()
