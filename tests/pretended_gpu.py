"""A GPU that any machine has: tensors that say they lie on another device, with numbers that a CPU tensor holds.

An operation that mixes them with the CPU's fails as it would on CUDA, and every read of one of their numbers, for which a
GPU's queue must empty, is counted. The numbers are the CPU kernels' own: a real one's rounding is not seen here.
The device is called "meta", the only one that PyTorch lets a machine without a GPU name and differentiate on.
"""

from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("meta")
MOVES = {"_to_copy", "copy_"}
NUMBERS = {"add", "sub", "mul", "div"}  # a scalar of the CPU is an argument of theirs
INDEXED = {"index", "index_put", "index_put_"}  # CUDA takes indices of the CPU, and copies them


class Traffic:
    """What went between the CPU and the GPU while the block ran.

    Attributes:
        reads: names of the operations that read a number from the GPU or fetched a tensor.
        uploads: shapes of the tensors that were copied to it.
    """

    def __init__(self):
        self.reads, self.uploads = [], []


class OnGPU(Tensor):
    """A tensor of the GPU; `inner` holds its numbers."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner, traffic):
        return Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=GPU,
        )

    def __init__(self, inner, traffic):
        self.inner, self.traffic = inner, traffic

    def tolist(self):
        self.traffic.reads.append("tolist")
        return self.inner.tolist()

    def numpy(self, **_):
        raise TypeError("a tensor of the GPU has no array: copy it to the CPU first")

    def __repr__(self):
        return f"OnGPU({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        traffic = next(a.traffic for a in tree_leaves((args, kwargs)) if isinstance(a, OnGPU))
        return _run(function, args, kwargs or {}, traffic)


class _Mode(TorchDispatchMode):
    """Sees what has no tensor of the GPU among its arguments: new tensors there, and copies to it."""

    def __init__(self, traffic):
        super().__init__()
        self.traffic = traffic

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {}, self.traffic)


def _run(function, args, kwargs, traffic):
    name = function._overloadpacket.__name__
    tensors = [a for a in tree_leaves((args, kwargs)) if isinstance(a, Tensor)]
    on = [a for a in tensors if isinstance(a, OnGPU)]
    target = args[0].device if name == "copy_" else kwargs.get("device")
    stays = bool(on) if target is None else torch.device(target) == GPU
    if on and (name in ("_local_scalar_dense", "nonzero") or (name in MOVES and not stays)):
        traffic.reads.append(name)
    if name in INDEXED and any(isinstance(a, OnGPU) and a.dtype == torch.bool for a in args[1]):
        traffic.reads.append(name)  # how many it chooses
    if name in MOVES and stays and not isinstance(args[name == "copy_"], OnGPU):
        traffic.uploads.append(tuple(args[0].shape))
    if on and name not in MOVES | INDEXED:
        numbers = name.rstrip("_") in NUMBERS
        strangers = [tuple(a.shape) for a in tensors if not isinstance(a, OnGPU) and (a.dim() or not numbers)]
        if strangers:
            raise RuntimeError(f"{name}: tensors of the CPU beside the GPU's, of shapes {strangers}")
    if target is not None and name != "copy_":
        kwargs = {**kwargs, "device": torch.device("cpu")}
    own = {id(a.inner): a for a in on}  # what changes in place stays itself

    def outer(value):
        if not isinstance(value, Tensor) or not stays:
            return own.get(id(value), value)
        return own[id(value)] if id(value) in own else OnGPU(value, traffic)

    return tree_map(outer, function(*tree_map(_inner, args), **tree_map(_inner, kwargs)))


def _inner(value):
    return value.inner if isinstance(value, OnGPU) else value


@contextmanager
def pretended_gpu():
    """While the block runs, "meta" is a device with numbers; gives its traffic."""
    traffic, make, cast = Traffic(), torch.tensor, torch.autocast

    def tensor(data, *, device=None, **options):
        made = make(data, **options)  # PyTorch makes it where no mode sees it
        return made if device is None else made.to(device)

    def as_tensor(data, dtype=None, device=None):
        if isinstance(data, Tensor):
            return data.to(device or data.device, dtype or data.dtype)
        return tensor(data, dtype=dtype, device=device)

    def new_tensor(self, data, **options):
        return tensor(data, **{"dtype": self.dtype, "device": self.device, **options})

    def autocast(device_type, *args, **options):
        return cast("cpu" if device_type == GPU.type else device_type, *args, **options)

    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # else a weight that moves keeps its class
    patches = (
        mock.patch.multiple(torch, tensor=tensor, as_tensor=as_tensor, autocast=autocast),
        mock.patch.object(Tensor, "new_tensor", new_tensor),
    )
    try:
        with patches[0], patches[1], _Mode(traffic):
            yield traffic
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrite)
