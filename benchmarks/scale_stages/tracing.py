"""Records a training step: its operations one by one, and its memory.

Tensors may be real or fake (shapes without memory). Recording happens below autograd and FSDP2: the operations that a
device would carry out, the collectives in calling order, and which operations read the results of a collective.
"""

import math
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

aten, c10d, functional = torch.ops.aten, torch.ops.c10d, torch.ops._c10d_functional

COMPUTED = ("matmul", "convolution", "attention", "other")
GATHER, SCATTER, REDUCE, EXCHANGE = "all_gather", "reduce_scatter", "all_reduce", "all_to_all"
COLLECTIVES = (GATHER, SCATTER, REDUCE, EXCHANGE)


def _attention_on_cpu(query, key, value, *_, **__):
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_on_cpu_backward(grad, query, key, value, *_, **__):
    return sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape)


ON_CPU = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention_on_cpu,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_on_cpu_backward,
}
"""FLOPs of the CPU's attention kernel, which PyTorch's counter lacks; equal to those of the other kernels."""
_IS_COLLECTIVE = {
    c10d._allgather_base_.default: GATHER,
    functional.all_gather_into_tensor.default: GATHER,
    c10d._reduce_scatter_base_.default: SCATTER,
    functional.reduce_scatter_tensor.default: SCATTER,
    c10d.allreduce_.default: REDUCE,
    functional.all_reduce.default: REDUCE,
    c10d.alltoall_base_.default: EXCHANGE,
}
_MAKES_ONLY = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


@dataclass(frozen=True)
class Event:
    """An operation or a collective.

    Attributes:
        kind: one of COMPUTED or COLLECTIVES.
        name: name of PyTorch's operation.
        phase: forward, backward or update.
        flops: FLOPs; a multiply-add is 2.
        moved: bytes that an operation reads and writes.
        size: bytes of the whole tensor that a collective gathers, reduces or exchanges.
        waits: indices, from 0, of the collectives whose results it reads.
        key: key from which `rebuilt` makes its arguments, if requested.
    """

    kind: str
    name: str
    phase: str
    flops: int = 0
    moved: int = 0
    size: int = 0
    waits: tuple[int, ...] = ()
    key: Any = None


@dataclass
class Trace:
    """The record of a step.

    Attributes:
        events: the events, in order.
        peak: peak bytes of all tensors that were watched or created.
        at_rest: bytes held before the step.
        after_forward: bytes held after the last forward pass.
        gradients: (parameter index, number of earlier events), in the order in which the gradients were ready.
    """

    events: list[Event] = field(default_factory=list)
    peak: int = 0
    at_rest: int = 0
    after_forward: int = 0
    gradients: list[tuple[int, int]] = field(default_factory=list)

    def flops(self, kind: str | None = None, phase: str | None = None) -> int:
        """Total FLOPs of the events of a kind and a phase; None means any."""
        return sum(e.flops for e in self.events if kind in (None, e.kind) and phase in (None, e.phase))

    def moved(self, phase: str | None = None) -> int:
        return sum(e.moved for e in self.events if phase in (None, e.phase))

    def operations(self, phase: str | None = None) -> int:
        """Number of kernel launches."""
        return sum(e.kind in COMPUTED and e.moved > 0 and phase in (None, e.phase) for e in self.events)

    def collectives(self, kind: str | None = None) -> list[Event]:
        return [e for e in self.events if e.kind in COLLECTIVES and kind in (None, e.kind)]


class Tracer(TorchDispatchMode):
    """Records the operations inside the block into `trace` while `recording`; bytes are always counted."""

    def __init__(self, keys: bool = False):
        super().__init__()
        self.trace, self.phase, self.recording, self.keys = Trace(), "forward", False, keys
        self.held: dict[int, int] = {}
        self.bytes = self.peak = self._collectives = 0
        self._brought: dict[int, int] = {}

    def watch(self, tensors: Iterable[Tensor]) -> None:
        """Also count the memory of these tensors."""
        for tensor in tensors:
            self._hold(tensor)

    def start(self) -> None:
        """Start recording a new step."""
        self.trace, self.recording, self.phase, self._collectives = Trace(at_rest=self.bytes), True, "forward", 0
        self.peak = self.bytes

    def finish(self) -> Trace:
        self.trace.peak, self.recording = self.peak, False
        return self.trace

    def __enter__(self):
        self._resize = torch.UntypedStorage.resize_
        mode = self

        def resize(storage, size):
            found = mode._resize(storage, size)
            if storage._cdata in mode.held:
                mode._set(storage._cdata, size)
            return found

        torch.UntypedStorage.resize_ = resize  # the only way in which FSDP2 allocates and frees a block
        return super().__enter__()

    def __exit__(self, *error):
        torch.UntypedStorage.resize_ = self._resize
        return super().__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        from torch.distributed.tensor import DTensor

        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # it calls the operations on its local part, which are recorded
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        given, made = _tensors((args, kwargs)), _tensors(out)
        for tensor in made:
            self._hold(tensor)
        if self.recording:
            self._record(func, args, kwargs, given, made, out)
        return out

    def _record(self, func, args, kwargs, given, made, out):
        name, own = str(func), {t.untyped_storage()._cdata for t in given}
        if func in _IS_COLLECTIVE:
            size = max(t.numel() * t.element_size() for t in (*given, *made))
            for tensor in _brought(func, args, made):
                self._brought[tensor.untyped_storage()._cdata] = self._collectives
            self._collectives += 1
            numbers = any(t.dtype == torch.float64 for t in given)  # index computations, not weights
            self.trace.events.append(Event(_IS_COLLECTIVE[func], "agreement" if numbers else name, self.phase,
                                           size=size))  # fmt: skip
            return
        if func.namespace in ("c10d", "_c10d_functional"):
            return
        waits = tuple(sorted({self._brought[s] for s in own if s in self._brought}))
        for one in waits:  # later operations read on the same stream
            self._brought = {s: i for s, i in self._brought.items() if i != one}
        flops = _flops(func, args, kwargs, out)
        new = [t for t in made if t.untyped_storage()._cdata not in own]
        changes = func._schema.is_mutable
        moves = (new or changes) and func._opname not in _MAKES_ONLY
        moved = sum(map(_size, (*given, *(made if changes else new)))) if moves else 0
        if flops or moved or waits:
            key = _key(func, args, kwargs) if self.keys and (flops or moved) else None
            self.trace.events.append(Event(_kind(func, flops), name, self.phase, flops, moved, waits=waits, key=key))

    def _hold(self, tensor: Tensor) -> None:
        if tensor.device.type == "meta":
            return  # tensors without memory
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self.held:
            return
        self.held[address] = 0
        weakref.finalize(storage, self._forget, address)
        self._set(address, storage.nbytes())

    def _set(self, address: int, size: int) -> None:
        self.bytes += size - self.held[address]
        self.held[address] = size
        self.peak = max(self.peak, self.bytes)

    def _forget(self, address: int) -> None:
        self.bytes -= self.held.pop(address, 0)
        self._brought.pop(address, None)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _size(tensor: Tensor) -> int:
    """Bytes that are read; expanded dimensions count once."""
    places = math.prod(n for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
    return places * tensor.element_size()


def _brought(func, args, made: list[Tensor]) -> list[Tensor]:
    """The output tensors of a collective."""
    if func.namespace == "_c10d_functional":
        return made
    return _tensors(args[0])


def _flops(func, args, kwargs, out) -> int:
    count = ON_CPU.get(func._overloadpacket) or flop_registry.get(func._overloadpacket)
    return 0 if count is None else int(count(*args, **kwargs, out_val=out))


def _kind(func, flops: int) -> str:
    if not flops:
        return "other"
    if "attention" in func._opname:
        return "attention"
    return "convolution" if "conv" in func._opname else "matmul"


def _key(func, args, kwargs):
    """A hashable key: the operation and its arguments, with tensors replaced by their shape, strides and dtype."""
    forms = tree_map_only(Tensor, lambda t: ("tensor", tuple(t.shape), tuple(t.stride()), t.dtype), (args, kwargs))
    return func, _frozen(forms)


def _frozen(tree):
    if isinstance(tree, dict):
        return ("dict", tuple((k, _frozen(v)) for k, v in tree.items()))
    if isinstance(tree, list | tuple):
        return (type(tree).__name__, tuple(map(_frozen, tree)))
    return tree


def rebuilt(key):
    """(operation, args, kwargs) of a key, with random tensors."""
    func, (_, (args, kwargs)) = key
    return func, _thawed(args), _thawed(kwargs)


def _thawed(tree):
    if isinstance(tree, tuple) and tree[0] == "tuple" and tree[1][:1] == ("tensor",):
        _, shape, stride, dtype = tree[1]
        shape, stride = shape[1], stride[1]
        out = torch.empty_strided(shape, stride, dtype=dtype)
        return out.normal_() if dtype.is_floating_point else out.zero_()
    if isinstance(tree, tuple):
        kind, parts = tree
        if kind == "dict":
            return {k: _thawed(v) for k, v in parts}
        return (list if kind == "list" else tuple)(map(_thawed, parts))
    return tree
