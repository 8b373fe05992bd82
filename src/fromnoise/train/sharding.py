"""Weights in parts: each process holds its part of every weight, gradient, average and moment (FSDP2)."""

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
"""What `auto` may come to."""

_BYTES = 20
"""Of each parameter, float32: itself, its gradient, AdamW's two moments, the average."""
_SHARE = 0.4
"""Of a device's memory that these may take before they are sharded: activations need the rest."""


def local(tensor: Tensor) -> Tensor:
    """This process' part of a sharded tensor, in the same memory; any other tensor as it is."""
    part = getattr(tensor, "to_local", None)
    return tensor if part is None else part()


def parts(tensors: Iterable[Tensor]) -> list[Tensor]:
    """`local` of each that is not empty, which some operations refuse. Where no gradient is followed."""
    return [part for tensor in tensors if (part := local(tensor)).numel()]


def each(operation: Callable[..., Any], tensors: Sequence[Tensor], *others: Any, **options: Any) -> Any:
    """One of torch's operations on lists of tensors, which refuse an empty list: of small weights over many processes
    some hold nothing."""
    return operation(tensors, *others, **options) if tensors else ()


def chosen(how: Shard, task: Task, device: torch.device, world: int, on_node: int) -> Shard:
    """What `auto` means here, and what one process can do: none, full or hybrid.

    Args:
        how: what was asked for.
        task: what is trained.
        device: where they will be.
        world, on_node: processes, of all machines and of this one.

    Raises:
        FromNoiseError: the task needs all weights at once.
    """
    single = next((name for name, p in task.network.named_parameters() if not p.dim()), None)
    if world == 1 or (how == "auto" and (task.second_order or single)):
        return "none"
    if how != "none" and single:
        raise FromNoiseError(f"train.shard {how}: {single} is a single number, which cannot be cut: make it a vector "
                             "of one, or leave train.shard at none")  # fmt: skip
    if how != "none" and task.second_order:
        raise FromNoiseError(f"train.shard {how}: this objective differentiates the network twice, and the second time "
                             "sharded weights are gone: leave it at none")  # fmt: skip
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
    """`chosen`, as the first process chooses, since GPUs may differ in their memory; and as all machines can.

    Raises:
        FromNoiseError: hybrid, on machines with different numbers of processes.
    """
    own = chosen(how, task, device, processes.world, processes.on_node)
    way = WAYS[processes.of_first(WAYS.index(own))]
    if way == "hybrid":
        first = processes.of_first(processes.on_node)
        if processes.said("" if processes.on_node == first else "uneven"):
            if how == "auto":
                return "full"
            raise FromNoiseError("train.shard hybrid: machines must have as many processes each, and these have not: "
                                 "use full")  # fmt: skip
    return way


class Sharding:
    """FSDP2 of a network: `fully_shard` on each block and on the whole, so that one block at a time is gathered.

    All processes start from the first one's weights. Blocks go to the device and are cut one after the other, so that
    no device ever holds the whole; parameters lie contiguous, since FSDP2 takes no other layout. In bf16 a block is
    gathered in bf16, the rest in float32; gradients are averaged in float32.

    Source: Rajbhandari et al. 2019 (arXiv 1910.02054), stage 3; Zhao et al. 2023 (arXiv 2304.11277).

    Args:
        network: on the CPU or the device; its parameters are replaced by sharded ones.
        how: "full": over all processes; "hybrid": inside each machine, the same parts on every machine.
        device: of this process.
        dtype: in which the network computes.

    Raises:
        FromNoiseError: machines have different numbers of processes; or blocks share a weight.
    """

    def __init__(self, network: nn.Module, how: Shard, device: torch.device, dtype: torch.dtype):
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        self.mesh, self.device = _mesh(how, device), device
        self.parts: int = self.mesh.size(-1)
        self.blank = _blank(network)
        """The network as it was, without weights: its class is not FSDP2's, and it says of itself what it is."""
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
        """What, averaged over all processes, is the squared norm of all gradients: [] on their device."""
        found = torch.zeros((), device=self.device)
        own = [g for g in gradients if hasattr(g, "to_local")]
        whole = [g for g in gradients if not hasattr(g, "to_local")]
        for tensors, times in ((parts(own), self.parts), (parts(whole), 1)):
            if tensors:
                norms = torch.stack([n.to(found.device) for n in torch._foreach_norm(tensors)])
                found = found + times * norms.square().sum()
        return found

    def like(self, own: Tensor, whole: Tensor) -> Tensor:
        """A whole tensor, cut as `own` is; as it is where that is whole."""
        if not hasattr(own, "to_local"):
            return whole
        from torch.distributed.tensor import distribute_tensor

        placed: Any = own
        return distribute_tensor(whole.to(local(own).device).contiguous(), placed.device_mesh, placed.placements,
                                 src_data_rank=None)  # fmt: skip

    def gathered(self, state: Mapping[str, Tensor]) -> nn.Module:
        """The network as it was before, with these sharded tensors, whole and on the CPU. All processes take part."""
        whole = {name: whole_of(tensor).cpu() for name, tensor in state.items()}
        names: dict[int, list[str]] = {}
        for name, p in self.blank.named_parameters(remove_duplicate=False):
            names.setdefault(id(p), []).append(name)
        self.blank.load_state_dict(whole, assign=True)
        for first, *others in names.values():  # tied ones are one again
            for name in others:
                place, _, own = name.rpartition(".")
                setattr(self.blank.get_submodule(place), own, self.blank.get_parameter(first))
        return self.blank


def rows_of(tensor: Any) -> tuple[dist.ProcessGroup, list[int]]:
    """The processes over which a sharded tensor's rows lie, and how many rows each has, as FSDP2 cuts: all but the last
    ones have as many."""
    group = tensor.device_mesh.get_group(-1)
    world, n = dist.get_world_size(group), tensor.shape[0]
    most = -(-n // world)
    return group, [max(0, min(most, n - rank * most)) for rank in range(world)]


def whole_of(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered from all processes, which all take part; any other as it is."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def _mesh(how: Shard, device: torch.device) -> "DeviceMesh":
    from torch.distributed.device_mesh import init_device_mesh

    world, on_node = dist.get_world_size(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if how != "hybrid":
        return init_device_mesh(device.type, (world,), mesh_dim_names=("shard",))
    return init_device_mesh(device.type, (world // on_node, on_node), mesh_dim_names=("copy", "shard"))


def _insist_on_groups(network: nn.Module) -> None:
    """That each weight belongs to one block, or to none.

    Raises:
        FromNoiseError: two share one, and would be gathered apart.
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
    """A copy without weights, which take no memory until `load_state_dict` brings them."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in network.parameters()
    }
    return copy.deepcopy(network, memo)


def _own_output(block: nn.Module, inputs: tuple, output: Any) -> Any:
    """FSDP2 marks what a block returns, and an operation in place on a view would lose the mark."""
    return output.clone() if isinstance(output, Tensor) and output._is_view() else output


def _channels_last(network: nn.Module, inputs: tuple) -> tuple:
    """Convolutions follow the layout of their input where their weights are contiguous."""
    return tuple(
        x.contiguous(memory_format=torch.channels_last) if isinstance(x, Tensor) and x.dim() == 4 else x for x in inputs
    )
