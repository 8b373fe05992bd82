"""Run a network as fewer, larger kernels: torch.compile or CUDA graphs."""

import warnings
from typing import Any, Literal

from torch import nn

from fromnoise.errors import FromNoiseError
from fromnoise.system.hardware.recording import Recorded

Compile = Literal["auto", "on", "off"]


def compile_network(network: nn.Module, how: Compile, inference: bool) -> None:
    """Compile or record a network at its first calls, and again for every new batch size.

    "on" is `torch.compile`, which takes up to a minute. "auto" does only what always pays off. On CUDA it uses
    `torch.compile` for training, falling back to eager mode if compiling fails, and for sampling it replays the
    network's own kernels as a CUDA graph from the second call on. On other devices it does nothing: on a CPU training
    gains nothing, and sampling becomes a fifth faster after some 40 seconds (docs/performance.md), so "on" pays off
    there only for samples that take minutes.

    Raises:
        FromNoiseError: if `how` is "on" and the CPU's C++ compiler is missing.
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
    """Run eagerly from the first call that cannot be compiled: with "auto", slow training is better than none.

    Parts of the backward pass that are compiled only when they first run are not covered.
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
