"""Record a network's kernels as CUDA graphs, which Python starts all at once instead of one by one."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

_SHAPES = 4
"""The most shapes to record; each keeps its activations. Sampling has two: full batches and the last one."""

Call = Callable[..., Any]
Capture = Callable[[Callable[[], Any], torch.device], tuple[Any, Callable[[], Any]]]


def as_cuda_graph(run: Callable[[], Any], device: torch.device) -> tuple[Any, Callable[[], Any]]:
    """Record run(); returns (the tensors that it made, a function that computes them again).

    The tensors that run() reads must stay at their addresses, and its kernels must have run before.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # libraries allocate at a stream's first run, which must not be recorded
            run()
        torch.cuda.current_stream().wait_stream(aside)
        # Other threads, which upload noise, may continue meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            out = run()
    return out, graph.replay


class _Recording:
    """A recorded call that is replayed with other values of the same shapes."""

    def __init__(self, call: Call, args: tuple, kwargs: dict[str, Any], device: torch.device, capture: Capture):
        with torch.inference_mode(False):  # inference tensors could be written in inference mode only
            own_args, own_kwargs = tree_map_only(Tensor, torch.clone, (args, kwargs))
        self.given = [x for x in tree_leaves((own_args, own_kwargs)) if isinstance(x, Tensor)]
        self.out, self.replay = capture(lambda: call(*own_args, **own_kwargs), device)

    def __call__(self, given: list[Tensor]) -> Any:
        for own, x in zip(self.given, given, strict=True):
            own.copy_(x)
        self.replay()
        return tree_map_only(Tensor, torch.clone, self.out)


class Recorded:
    """A call that is recorded at the second call with tensors of the same shapes, and replayed from then on.

    It is called directly when gradients are enabled or an argument is not a tensor on the one GPU, and for good once
    recording fails. The results are those of the direct call bit for bit, since the kernels are the same.

    Args:
        call: a network's forward pass, whose weights stay at their addresses.
        capture: records a function.
        kind: the type of device that can be recorded.
    """

    def __init__(self, call: Call, capture: Capture = as_cuda_graph, kind: str = "cuda"):
        self.call, self.capture, self.kind = call, capture, kind
        self.found: dict[Any, _Recording | None] = {}
        self.works = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves = [x for x in tree_leaves((args, kwargs)) if x is not None]
        if not self.works or torch.is_grad_enabled() or not self._can_be_copied(leaves):
            return self.call(*args, **kwargs)
        names = [(name, value is None) for name, value in (*enumerate(args), *kwargs.items())]
        key = (*names, *((x.shape, x.dtype, x.device) for x in leaves))
        if key not in self.found:
            if len(self.found) < _SHAPES:
                self.found[key] = None  # the first call chooses and compiles kernels, which must not be recorded
            return self.call(*args, **kwargs)
        recording = self.found[key]
        if recording is None:
            try:
                recording = self.found[key] = _Recording(self.call, args, kwargs, leaves[0].device, self.capture)
            except RuntimeError as error:  # including out of memory
                self.works = False
                self.found.clear()
                why = (str(error).strip() or type(error).__name__).splitlines()[0]
                warnings.warn(f"the network runs without CUDA graphs, since recording failed: {why}", stacklevel=2)
                return self.call(*args, **kwargs)
        return recording(leaves)

    def _can_be_copied(self, given: list[Any]) -> bool:
        devices = {x.device if isinstance(x, Tensor) else None for x in given}
        return len(devices) == 1 and getattr(next(iter(devices)), "type", None) == self.kind
