"""A network's kernels recorded as CUDA graphs: Python starts them all at once instead of one by one."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

_SHAPES = 4
"""Recorded; each keeps its activations. Sampling has two: whole batches and the last."""

Call = Callable[..., Any]
Capture = Callable[[Callable[[], Any], torch.device], tuple[Any, Callable[[], Any]]]


def as_cuda_graph(run: Callable[[], Any], device: torch.device) -> tuple[Any, Callable[[], Any]]:
    """(the tensors that run() made, a function that computes them anew) from one run, recorded.

    What run() reads must stay where it is, and it must not be the first run of its kernels.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # what libraries allocate for a stream at first is not to be recorded
            run()
        torch.cuda.current_stream().wait_stream(aside)
        # Other threads, which upload noise, may go on meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            out = run()
    return out, graph.replay


class _Recording:
    """A call that is replayed with other numbers in the same shapes."""

    def __init__(self, call: Call, args: tuple, kwargs: dict[str, Any], device: torch.device, capture: Capture):
        with torch.inference_mode(False):  # or they could be written in that mode alone
            own_args, own_kwargs = tree_map_only(Tensor, torch.clone, (args, kwargs))
        self.given = [x for x in tree_leaves((own_args, own_kwargs)) if isinstance(x, Tensor)]
        self.out, self.replay = capture(lambda: call(*own_args, **own_kwargs), device)

    def __call__(self, given: list[Tensor]) -> Any:
        for own, x in zip(self.given, given, strict=True):
            own.copy_(x)
        self.replay()
        return tree_map_only(Tensor, torch.clone, self.out)


class Recorded:
    """A call that is recorded the second time that it has tensors of the same shapes, and from then on replayed.

    With gradients, and with anything but tensors of one GPU, it runs as it is; so it does for good where recording
    fails. The numbers are those of the call as it is, bit for bit: its kernels are the same.

    Args:
        call: a network's forward pass, whose weights stay where they are.
        capture: what records.
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
                self.found[key] = None  # the first call chooses and translates kernels, which is not to be recorded
            return self.call(*args, **kwargs)
        recording = self.found[key]
        if recording is None:
            try:
                recording = self.found[key] = _Recording(self.call, args, kwargs, leaves[0].device, self.capture)
            except RuntimeError as error:  # out of memory too
                self.works = False
                self.found.clear()
                why = (str(error).strip() or type(error).__name__).splitlines()[0]
                warnings.warn(f"the network runs without CUDA graphs, since recording failed: {why}", stacklevel=2)
                return self.call(*args, **kwargs)
        return recording(leaves)

    def _can_be_copied(self, given: list[Any]) -> bool:
        devices = {x.device if isinstance(x, Tensor) else None for x in given}
        return len(devices) == 1 and getattr(next(iter(devices)), "type", None) == self.kind
