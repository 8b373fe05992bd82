"""Networks as fewer and larger pieces of work: torch.compile, or CUDA graphs."""

import warnings
from typing import Any, Literal

from torch import nn

from fromnoise.errors import FromNoiseError
from fromnoise.system.hardware.recording import Recorded

Compile = Literal["auto", "on", "off"]


def compile_network(network: nn.Module, how: Compile, inference: bool) -> None:
    """Have a network run in fewer and larger pieces from its first calls on, once more for every new batch size.

    "on" is `torch.compile`, which takes up to a minute. "auto" is what pays without being asked for: on CUDA
    `torch.compile` for training, where the network runs eagerly if compiling fails, and for sampling the network's own
    kernels as a CUDA graph, from the second call on. Elsewhere it does nothing: on a CPU training gains nothing, and
    sampling a fifth after some 40 seconds (docs/performance.md), so that "on" pays there for samples that take minutes.

    Raises:
        FromNoiseError: "on" for a CPU without a C++ compiler.
    """
    kind = next(network.parameters()).device.type
    if how == "off" or (how == "auto" and kind != "cuda"):
        return
    if how == "auto" and inference:
        network._compiled_call_impl = Recorded(network._call_impl)
        return
    if how == "auto" and not _has_triton():
        return
    if kind == "cpu":
        _insist_on_a_compiler()
    if not inference:
        network.compile(dynamic=False)
    elif kind == "cuda":
        network.compile(dynamic=False, mode="reduce-overhead")  # as CUDA graphs
    else:
        network.compile(dynamic=False, options={"freezing": True})  # the weights are constants
    if how == "auto":
        _fall_back(network)


def _fall_back(network: nn.Module) -> None:
    """Run eagerly from the first call on that cannot be compiled: nobody asked for it, and slower beats not at all.

    Of the backward pass what is compiled only when it is run is not covered.
    """
    from torch._dynamo.exc import TorchDynamoException

    compiled = network._compiled_call_impl
    assert compiled is not None

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return compiled(*args, **kwargs)
        except TorchDynamoException as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            warnings.warn(f"torch.compile failed ({first}); training goes on without it", stacklevel=2)
            network._compiled_call_impl = None
            return network(*args, **kwargs)

    network._compiled_call_impl = call


def _has_triton() -> bool:
    from torch.utils._triton import has_triton

    return has_triton()


def _insist_on_a_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise FromNoiseError(
            "compile = on needs a C++ compiler on this machine, such as g++: install one, or take compile = off"
        ) from None
