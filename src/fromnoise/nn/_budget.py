"""Check how much memory a network's weights need, before any is allocated."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from fromnoise.errors import FromNoiseError
from fromnoise.system.hardware.memory import insist_on_memory

_MOST = 10_000
"""Most weight tensors of one network; the largest published networks have a thousand or two."""


class Unfilled(TorchFunctionMode):
    """Skip the functions that would fill new tensors in place, so that their memory stays untouched.

    Args:
        functions: names of the functions to skip.
        init: whether to skip everything in torch.nn.init, too.
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
    """Build the network on the meta device, which needs no memory, and stop as soon as it is too large.

    Args:
        make: builds the network.
        what: what the network is called in messages.

    Raises:
        FromNoiseError: the weights do not fit into memory, or there are more than 10,000 weight tensors.
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
        # On the meta device, normal_ would make PyTorch import its compiler, which takes seconds.
        with torch.device("meta"), Unfilled("normal_"):
            make()
    except MemoryError:
        raise FromNoiseError(f"{what} does not fit into memory: make it smaller") from None
    except Exception as error:
        if found is None and "overflow" in str(error).lower():  # the size exceeds 64 bits
            found = FromNoiseError(f"{what} does not fit into memory: make it smaller")
        if found is not None:
            raise found from None  # any other error is reported when the network is really built
    finally:
        hook.remove()
