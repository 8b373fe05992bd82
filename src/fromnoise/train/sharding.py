"""Sharded training (FSDP2): each process holds a part of every weight, gradient, average and moment."""

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fromnoise.errors import FromNoiseError
from fromnoise.nn.blocks import blocks
from fromnoise.train.distributed import Processes
from fromnoise.train.task import Task

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

Shard = Literal["auto", "none", "full", "hybrid"]
WAYS: tuple[Shard, ...] = ("none", "full", "hybrid")
"""The values that `auto` can resolve to."""

_BYTES = 20
"""Bytes per parameter, in float32: itself, its gradient, AdamW's two moments, its average."""
_SHARE = 0.4
"""Share of a device's memory that these may take before they are sharded; activations need the rest."""


def local(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor, in the same memory; any other tensor unchanged."""
    part = getattr(tensor, "to_local", None)
    return tensor if part is None else part()


def parts(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The non-empty `local` parts, because some operations refuse empty tensors. For use without gradients."""
    return [part for tensor in tensors if (part := local(tensor)).numel()]


def each(operation: Callable[..., Any], tensors: Sequence[Tensor], *others: Any, **options: Any) -> Any:
    """One of torch's operations on lists of tensors, which refuse an empty list: of small weights over many processes
    some hold nothing."""
    return operation(tensors, *others, **options) if tensors else ()


def chosen(how: Shard, task: Task, device: torch.device, world: int, on_node: int) -> Shard:
    """Resolve `train.shard` to none, full or hybrid; a single process never shards.

    Args:
        how: the configured value.
        task: the task.
        device: the device that will hold the weights.
        world, on_node: number of processes in total, and on this machine.

    Raises:
        FromNoiseError: sharding is requested, but the weights or the objective do not allow it.
    """
    single = next((name for name, p in task.network.named_parameters() if not p.dim()), None)
    if world == 1 or (how == "auto" and (task.second_order or single)):
        return "none"
    if how != "none" and single:
        raise FromNoiseError(f"train.shard {how}: {single} is a single number, which cannot be sharded: make it a "
                             "vector of length 1, or use none")  # fmt: skip
    if how != "none" and task.second_order:
        raise FromNoiseError(f"train.shard {how}: this objective differentiates the network twice, which does not work "
                             "with sharded weights: use none")  # fmt: skip
    if how != "auto":
        return how
    if device.type != "cuda":
        return "none"
    need = sum(p.numel() for p in task.weights().values()) * _BYTES
    room = _SHARE * torch.cuda.get_device_properties(device).total_memory
    if need <= room:
        return "none"
    return "hybrid" if on_node < world and need / on_node <= room else "full"


def agreed(how: Shard, task: Task, device: torch.device, processes: Processes) -> Shard:
    """The first process's `chosen`, in every process, because GPUs may differ in their memory.

    Raises:
        FromNoiseError: hybrid is requested, but the machines have different numbers of processes.
    """
    own = chosen(how, task, device, processes.world, processes.on_node)
    way = WAYS[processes.of_first(WAYS.index(own))]
    if way == "hybrid":
        first = processes.of_first(processes.on_node)
        if processes.said("" if processes.on_node == first else "uneven"):
            if how == "auto":
                return "full"
            raise FromNoiseError("train.shard hybrid: all machines must have the same number of processes: "
                                 "use full")  # fmt: skip
    return way


class Sharding:
    """FSDP2 for a network: `fully_shard` on each block and on the whole, so that only one block at a time is gathered.

    All processes start from the first one's weights. Blocks are moved to the device and sharded one after the other, so
    that no device ever holds all weights. Parameters are contiguous, the only layout that FSDP2 supports. If the
    network computes in bf16, blocks are gathered in bf16 and everything else in float32; gradients are averaged in
    float32.

    Source: Rajbhandari et al. 2019 (arXiv 1910.02054), stage 3; Zhao et al. 2023 (arXiv 2304.11277).

    Args:
        network: the network, on the CPU or the device; its parameters are replaced by sharded ones.
        how: "full": sharded over all processes; "hybrid": sharded within each machine, with the same parts on every
            machine.
        device: device of this process.
        dtype: type in which the network computes.

    Raises:
        FromNoiseError: machines have different numbers of processes, or blocks share a weight.
    """

    def __init__(self, network: nn.Module, how: Shard, device: torch.device, dtype: torch.dtype):
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        self.mesh, self.device = _mesh(how, device), device
        self.parts: int = self.mesh.size(-1)
        self.blank = _blank(network)
        """The original network without weights: it keeps its class, which FSDP2 replaces, and its description."""
        _insist_on_groups(network)
        precise = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
        low = MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
        for block in (*blocks(network), network):
            for tensor in (*block.parameters(), *block.buffers()):
                if not hasattr(tensor, "to_local"):
                    tensor.data = tensor.data.to(device).contiguous()
                    dist.broadcast(tensor.data, 0)
            block.register_forward_hook(_own_output)
            fully_shard(block, mesh=self.mesh, mp_policy=precise if block is network else low,
                        reshard_after_forward=True)  # fmt: skip
        if any(p.dim() == 4 for p in network.parameters()):
            network.register_forward_pre_hook(_channels_last)

    def square_norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """A number [] whose mean over all processes is the squared norm of all gradients."""
        found = torch.zeros((), device=self.device)
        own = [g for g in gradients if hasattr(g, "to_local")]
        whole = [g for g in gradients if not hasattr(g, "to_local")]
        for tensors, times in ((parts(own), self.parts), (parts(whole), 1)):
            if tensors:
                norms = torch.stack([n.to(found.device) for n in torch._foreach_norm(tensors)])
                found = found + times * norms.square().sum()
        return found

    def like(self, own: Tensor, whole: Tensor) -> Tensor:
        """A whole tensor, sharded like `own`; unchanged if `own` is not sharded."""
        if not hasattr(own, "to_local"):
            return whole
        from torch.distributed.tensor import distribute_tensor

        placed: Any = own
        return distribute_tensor(whole.to(local(own).device).contiguous(), placed.device_mesh, placed.placements,
                                 src_data_rank=None)  # fmt: skip

    def gathered(self, state: Mapping[str, Tensor]) -> nn.Module:
        """The original network with these sharded tensors, gathered on the CPU. All processes must call this."""
        whole = {name: whole_of(tensor).cpu() for name, tensor in state.items()}
        names: dict[int, list[str]] = {}
        for name, p in self.blank.named_parameters(remove_duplicate=False):
            names.setdefault(id(p), []).append(name)
        self.blank.load_state_dict(whole, assign=True)
        for first, *others in names.values():  # tie shared weights again
            for name in others:
                place, _, own = name.rpartition(".")
                setattr(self.blank.get_submodule(place), own, self.blank.get_parameter(first))
        return self.blank


def rows_of(tensor: Any) -> tuple[dist.ProcessGroup, list[int]]:
    """(the processes that hold a sharded tensor's rows, the number of rows of each).

    FSDP2 gives all processes the same number of rows, except the last ones, which may have fewer.
    """
    group = tensor.device_mesh.get_group(-1)
    world, n = dist.get_world_size(group), tensor.shape[0]
    most = -(-n // world)
    return group, [max(0, min(most, n - rank * most)) for rank in range(world)]


def whole_of(tensor: Tensor) -> Tensor:
    """A sharded tensor, gathered from all processes, which must all call this; any other tensor unchanged."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def _mesh(how: Shard, device: torch.device) -> "DeviceMesh":
    from torch.distributed.device_mesh import init_device_mesh

    world, on_node = dist.get_world_size(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if how != "hybrid":
        return init_device_mesh(device.type, (world,), mesh_dim_names=("shard",))
    return init_device_mesh(device.type, (world // on_node, on_node), mesh_dim_names=("copy", "shard"))


def _insist_on_groups(network: nn.Module) -> None:
    """Check that no weight is shared between blocks, or between a block and the rest of the network.

    Raises:
        FromNoiseError: a weight is shared, but would be sharded twice.
    """
    block_of: dict[int, nn.Module] = {}
    for block in blocks(network):  # inner ones first
        for module in block.modules():
            block_of.setdefault(id(module), block)
    owner: dict[int, nn.Module] = {}
    for place, module in network.named_modules():
        block = block_of.get(id(module), network)
        for name, p in module.named_parameters(recurse=False):
            if owner.setdefault(id(p), block) is not block:
                raise FromNoiseError(f"train.shard: a block shares its weight {place}.{name} with another part of the "
                                     "network: leave train.shard at none")  # fmt: skip


def _blank(network: nn.Module) -> nn.Module:
    """A copy of the network on the meta device, which needs no memory until `load_state_dict` assigns weights."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in network.parameters()
    }
    return copy.deepcopy(network, memo)


def _own_output(block: nn.Module, inputs: tuple, output: Any) -> Any:
    """Clone outputs that are views: FSDP2 marks outputs, and an in-place operation on a view would lose the mark."""
    return output.clone() if isinstance(output, Tensor) and output._is_view() else output


def _channels_last(network: nn.Module, inputs: tuple) -> tuple:
    """Make the inputs channels_last: convolutions with contiguous weights follow the layout of their input."""
    return tuple(
        x.contiguous(memory_format=torch.channels_last) if isinstance(x, Tensor) and x.dim() == 4 else x for x in inputs
    )
